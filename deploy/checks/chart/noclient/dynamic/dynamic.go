// Package dynamic stands for that of client-go, see package rest.
package dynamic

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"k8s.io/client-go/rest"
)

// Interface is what NewForConfig would return.
type Interface interface {
	Resource(schema.GroupVersionResource) NamespaceableResourceInterface
}

// NamespaceableResourceInterface is of one kind of object.
type NamespaceableResourceInterface interface {
	Namespace(string) ResourceInterface
	ResourceInterface
}

// ResourceInterface reads objects.
type ResourceInterface interface {
	Get(ctx context.Context, name string, options metav1.GetOptions, subresources ...string) (*unstructured.Unstructured, error)
	List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error)
}

// NewForConfig returns rest.ErrNone.
func NewForConfig(*rest.Config) (Interface, error) { return nil, rest.ErrNone }
