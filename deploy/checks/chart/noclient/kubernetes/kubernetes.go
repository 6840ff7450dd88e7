// Package kubernetes is named by Helm to learn the version of client-go.
package kubernetes
