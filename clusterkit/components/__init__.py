"""L3. The systems clusterkit knows: base.py says what a component is, docs/adding-a-component.md how to add one."""
