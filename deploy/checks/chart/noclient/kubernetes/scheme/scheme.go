// Package scheme stands for that of client-go, see package rest.
package scheme

import "k8s.io/apimachinery/pkg/runtime"

// Scheme knows no kinds but those that Helm adds: .Capabilities.APIVersions is short.
var Scheme = runtime.NewScheme()
