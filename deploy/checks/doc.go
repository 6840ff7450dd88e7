// Package checks holds what is deployed against the tools that will read it:
// dashboards and alerts against a real Prometheus, the compose file, the
// Dockerfile and the chart against their own schemas.
//
// It is a module of its own, so that none of these tools is a dependency of
// the product.
package checks
