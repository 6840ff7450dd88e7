// Package rest stands for that of client-go. This module is all of client-go
// that Helm's engine names: so the chart can be rendered by the engine itself,
// without compiling clients for every kind of object, which takes five times as
// long as the rest of Helm.
//
// It reaches no cluster. The engine asks for one in `lookup` alone, and there
// only when it was given a Config, which the tests never do.
package rest

import "errors"

// ErrNone is what every call returns.
var ErrNone = errors.New("there is no client for Kubernetes here")

// Config says nothing.
type Config struct{}
