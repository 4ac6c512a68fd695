"""GatewayPolicies: what authors write about who may reach which port of their pods, and what it means for one pod."""
