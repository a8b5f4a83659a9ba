"""HTTP: routes, problem documents and OpenAPI over a learner or a replica."""
