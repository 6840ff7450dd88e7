package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/strvals"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	chartDir       = "../../helm/crier"
	chartRelease   = "x"
	chartNamespace = "mail"
)

// rendered is what the chart makes of some values.
type rendered struct {
	objects map[string]metav1.Object // by Kind/name
	notes   string
}

// render renders the chart with a file of testdata/values ("" = nothing but the
// chart's own values) and changes to it, as for helm --set.
func render(t *testing.T, values, set string) *rendered {
	t.Helper()
	r, err := renderChart(t.Context(), values, set)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func renderChart(ctx context.Context, values, set string) (*rendered, error) {
	given := map[string]any{}
	if values != "" {
		text, err := os.ReadFile("testdata/values/" + values + ".yaml")
		if err != nil {
			return nil, err
		}
		if err := yaml.UnmarshalStrict(text, &given); err != nil {
			return nil, fmt.Errorf("%s: %w", values, err)
		}
	}
	if err := strvals.ParseInto(set, given); err != nil {
		return nil, err
	}
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		return nil, err
	}
	all, err := util.ToRenderValues(chart, given, common.ReleaseOptions{Name: chartRelease, Namespace: chartNamespace, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.RenderWithContext(ctx, chart, all)
	if err != nil {
		return nil, err
	}
	r := &rendered{objects: map[string]metav1.Object{}}
	for file, text := range files {
		switch {
		case strings.HasSuffix(file, "NOTES.txt"):
			r.notes = text
		case !strings.HasSuffix(file, ".tpl"):
			if err := r.add(text); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", file, err, text)
			}
		}
	}
	return r, nil
}

// add decodes the documents of a file.
func (r *rendered) add(text string) error {
	documents := utilyaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(text)))
	defer func() { _ = documents.Close() }() // read only
	buffer := make([]byte, len(text)+1)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(buffer[:n])) == 0 {
			continue
		}
		object, err := decodeObject(buffer[:n])
		if err != nil {
			return err
		}
		if object == nil {
			continue
		}
		id := fmt.Sprintf("%T", object)
		id = id[strings.LastIndex(id, ".")+1:] + "/" + object.GetName()
		if r.objects[id] != nil {
			return fmt.Errorf("%s: there are two", id)
		}
		r.objects[id] = object
	}
}

// decodeObject decodes a document into the type of its kind: a field that the
// type does not have is an error, as is a kind that the chart has no business
// with. nil = nothing but comments.
func decodeObject(text []byte) (metav1.Object, error) {
	var meta *metav1.TypeMeta
	if err := yaml.Unmarshal(text, &meta); err != nil {
		return nil, err
	}
	if meta == nil {
		return nil, nil
	}
	var object metav1.Object
	switch kind := meta.APIVersion + " " + meta.Kind; kind {
	case "apps/v1 Deployment":
		object = new(appsv1.Deployment)
	case "v1 Service":
		object = new(corev1.Service)
	case "v1 ServiceAccount":
		object = new(corev1.ServiceAccount)
	case "policy/v1 PodDisruptionBudget":
		object = new(policyv1.PodDisruptionBudget)
	case "networking.k8s.io/v1 NetworkPolicy":
		object = new(networkingv1.NetworkPolicy)
	case "monitoring.coreos.com/v1 ServiceMonitor":
		object = new(monitoringv1.ServiceMonitor)
	case "monitoring.coreos.com/v1 PrometheusRule":
		object = new(monitoringv1.PrometheusRule)
	case "v1 ConfigMap":
		object = new(corev1.ConfigMap)
	default:
		return nil, fmt.Errorf("the chart should have no %s", kind)
	}
	return object, yaml.UnmarshalStrict(text, object)
}

// kind is the objects of one kind.
func kind[T metav1.Object](r *rendered) []T {
	var list []T
	for _, object := range r.objects {
		if o, ok := object.(T); ok {
			list = append(list, o)
		}
	}
	return list
}
