"""L15. `clusterkit completion`."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes a shell complete commands, options and names.

    Clusters, nodes, components, faults, scenarios and runs are completed as they are at that moment.

    \b
    bash   echo 'eval "$(clusterkit completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(clusterkit completion zsh)"' >> ~/.zshrc
    fish   clusterkit completion fish > ~/.config/fish/completions/clusterkit.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None  # click knows the three
    click.echo(made(click.Command("clusterkit"), {}, "clusterkit", "_CLUSTERKIT_COMPLETE").source())
