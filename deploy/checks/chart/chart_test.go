package chart

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Each of these values renders to objects that Kubernetes takes, and that keep
// what the chart promises.
func TestChart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values string // a file in testdata/values
		set    string // as for helm --set
		want   []string
	}{
		"minimal": {
			values: "minimal",
			want: []string{
				"Deployment/x-crier-gateway", "Deployment/x-crier-worker", "PodDisruptionBudget/x-crier-gateway", "PodDisruptionBudget/x-crier-worker",
				"Service/x-crier-gateway", "Service/x-crier-worker", "ServiceAccount/x-crier",
			},
		},
		"worker only": {values: "worker-only", want: []string{"Deployment/mailer-worker", "Service/mailer-worker"}},
		"all": {
			values: "all",
			want: []string{
				"ConfigMap/x-post-dashboard-delivery", "ConfigMap/x-post-dashboard-runtime",
				"Deployment/x-post-gateway", "Deployment/x-post-worker", "NetworkPolicy/x-post-gateway", "NetworkPolicy/x-post-worker",
				"PodDisruptionBudget/x-post-gateway", "PodDisruptionBudget/x-post-worker", "PrometheusRule/x-post",
				"Service/x-post-gateway", "Service/x-post-worker", "ServiceAccount/x-post", "ServiceMonitor/x-post-gateway", "ServiceMonitor/x-post-worker",
			},
		},
		"watched, without a gateway": {
			values: "worker-only", set: "serviceMonitor.enabled=true,networkPolicy.enabled=true",
			want: []string{"Deployment/mailer-worker", "NetworkPolicy/mailer-worker", "Service/mailer-worker", "ServiceMonitor/mailer-worker"},
		},
		"without what can be left out": {
			values: "minimal",
			set: "gateway.preStopSleep=0,gateway.podDisruptionBudget.enabled=false,worker.podDisruptionBudget.enabled=false," +
				"worker.resources.requests.memory=null,worker.replicas=0",
			want: []string{"Deployment/x-crier-gateway", "Deployment/x-crier-worker", "Service/x-crier-gateway", "Service/x-crier-worker", "ServiceAccount/x-crier"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := render(t, c.values, c.set)
			if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(r.objects))); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			for id, object := range r.objects {
				if object.GetNamespace() != chartNamespace || object.GetLabels()["app.kubernetes.io/instance"] != chartRelease ||
					object.GetLabels()["app.kubernetes.io/name"] == "" || object.GetLabels()["helm.sh/chart"] == "" {
					t.Errorf("%s: %s, %v", id, object.GetNamespace(), object.GetLabels())
				}
			}
			for _, d := range kind[*appsv1.Deployment](r) {
				checkRollout(t, d)
				checkSafety(t, d)
				checkProbes(t, d)
				checkFiles(t, d)
			}
			checkTargets(t, r)
		})
	}
}

// checkRollout holds that pods are replaced one by one, and given the time that
// the program takes to end.
func checkRollout(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	if s := d.Spec.Strategy; s.Type != appsv1.RollingUpdateDeploymentStrategyType || s.RollingUpdate.MaxUnavailable.String() != "0" || s.RollingUpdate.MaxSurge.String() != "1" {
		t.Errorf("%s: %+v", d.Name, s)
	}
	if !matches(d.Spec.Selector, d.Spec.Template.Labels) {
		t.Errorf("%s: its selector does not match its pods", d.Name)
	}
	pod := d.Spec.Template.Spec
	shutdown, err := time.ParseDuration(environment(pod)["SHUTDOWN_TIMEOUT"])
	if err != nil {
		t.Fatal(err)
	}
	spent := shutdown + time.Duration(sleepBeforeStop(pod))*time.Second
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace != spent+10*time.Second {
		t.Errorf("%s is killed after %v, but may take %v", d.Name, grace, spent)
	}
	for _, c := range pod.TopologySpreadConstraints {
		if !matches(c.LabelSelector, d.Spec.Template.Labels) || c.WhenUnsatisfiable != corev1.ScheduleAnyway {
			t.Errorf("%s: %+v", d.Name, c)
		}
	}
}

func sleepBeforeStop(pod corev1.PodSpec) int64 {
	if l := pod.Containers[0].Lifecycle; l != nil {
		return l.PreStop.Sleep.Seconds
	}
	return 0
}

func checkSafety(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.InitContainers) > 0 {
		t.Fatalf("%s: %d containers", d.Name, len(pod.Containers))
	}
	c := pod.Containers[0]
	if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s: %+v", d.Name, s)
	}
	if s := pod.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 65532 || *s.FSGroup != 65532 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: %+v", d.Name, s)
	}
	if *pod.AutomountServiceAccountToken || *pod.EnableServiceLinks || pod.ServiceAccountName == "" {
		t.Errorf("%s: %q gets a token, or the services of others", d.Name, pod.ServiceAccountName)
	}
	if c.Resources.Limits.Memory().IsZero() || !strings.HasPrefix(c.Image, "registry.example.com") {
		t.Errorf("%s: %s, %v", d.Name, c.Image, c.Resources)
	}
}

// checkProbes holds that each probe asks the port that the program listens on,
// in the way that it speaks there.
func checkProbes(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	c := d.Spec.Template.Spec.Containers[0]
	env := environment(d.Spec.Template.Spec)
	listen, scheme := env["ADMIN_ADDR"], corev1.URISchemeHTTP
	if c.Name == "gateway" {
		listen = env["ENQUEUE_LISTEN"]
		if env["ENQUEUE_TLS_CERT"] != "" {
			scheme = corev1.URISchemeHTTPS
		}
	}
	if len(c.Ports) != 1 || listen != ":"+strconv.Itoa(int(c.Ports[0].ContainerPort)) {
		t.Fatalf("%s listens on %s, its ports are %v", d.Name, listen, c.Ports)
	}
	for path, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe, " /healthz": c.StartupProbe} {
		if get := probe.HTTPGet; get.Path != strings.TrimSpace(path) || get.Port.String() != c.Ports[0].Name || get.Scheme != scheme {
			t.Errorf("%s: %+v", d.Name, get)
		}
	}
}

// checkFiles holds that variables which name a file name one that is mounted,
// and that no variable takes its value from a secret.
func checkFiles(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	pod := d.Spec.Template.Spec
	volumes := map[string]corev1.VolumeSource{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v.VolumeSource
	}
	mounted := map[string]bool{}
	for _, m := range pod.Containers[0].VolumeMounts {
		v, known := volumes[m.Name]
		delete(volumes, m.Name)
		switch {
		case !known || !m.ReadOnly:
			t.Errorf("%s: %+v", d.Name, m)
		case v.Projected != nil:
			if *v.Projected.DefaultMode != 0o440 {
				t.Errorf("%s: the secrets' mode is %o", d.Name, *v.Projected.DefaultMode)
			}
			for _, s := range v.Projected.Sources {
				if s.Secret.Name == "" || s.Secret.Items[0].Key == "" {
					t.Errorf("%s: %+v", d.Name, s)
				}
				mounted[path.Join(m.MountPath, s.Secret.Items[0].Path)] = true
			}
		case m.Name == "tls": // with the keys of a secret of type kubernetes.io/tls
			mounted[m.MountPath+"/tls.crt"], mounted[m.MountPath+"/tls.key"] = true, true
		}
	}
	if len(volumes) > 0 {
		t.Errorf("%s: nobody mounts %v", d.Name, volumes)
	}
	for _, e := range pod.Containers[0].Env {
		if from := e.ValueFrom; from != nil && (e.Name != "GOMEMLIMIT" || from.ResourceFieldRef == nil) {
			t.Errorf("%s: %s is %+v", d.Name, e.Name, from)
		}
		if strings.HasSuffix(e.Name, "_FILE") || strings.HasPrefix(e.Name, "ENQUEUE_TLS_") {
			if !mounted[e.Value] {
				t.Errorf("%s: %s names %s, mounted is %v", d.Name, e.Name, e.Value, mounted)
			}
			delete(mounted, e.Value)
		}
		if slices.Contains([]string{"REDIS_URL", "CHAT_TOKEN", "CHAT_CLIENT_SECRET", "ENQUEUE_API_KEYS"}, e.Name) {
			t.Errorf("%s: %s stands in the environment", d.Name, e.Name)
		}
	}
	if len(mounted) > 0 {
		t.Errorf("%s: no variable names %v", d.Name, mounted)
	}
}

// checkTargets holds that whatever selects something selects just the pods, or
// the service, of its own component.
func checkTargets(t *testing.T, r *rendered) {
	t.Helper()
	pods := func(id string, own metav1.Object, s *metav1.LabelSelector, port string) {
		n := 0
		for _, d := range kind[*appsv1.Deployment](r) {
			if matches(s, d.Spec.Template.Labels) {
				n++
				if d.Name != own.GetName() || port != "" && d.Spec.Template.Spec.Containers[0].Ports[0].Name != port {
					t.Errorf("%s selects %s, port %q", id, d.Name, port)
				}
			}
		}
		if n != 1 {
			t.Errorf("%s selects the pods of %d deployments", id, n)
		}
	}
	for id, object := range r.objects {
		switch o := object.(type) {
		case *corev1.Service:
			pods(id, o, &metav1.LabelSelector{MatchLabels: o.Spec.Selector}, o.Spec.Ports[0].TargetPort.String())
		case *policyv1.PodDisruptionBudget:
			pods(id, o, o.Spec.Selector, "")
		case *networkingv1.NetworkPolicy:
			port := ""
			for _, rule := range o.Spec.Ingress {
				port = rule.Ports[0].Port.String()
				if len(rule.From) == 0 {
					t.Errorf("%s lets everybody in", id)
				}
			}
			pods(id, o, &o.Spec.PodSelector, port)
		case *monitoringv1.ServiceMonitor:
			checkMonitor(t, r, o)
		}
	}
}

func checkMonitor(t *testing.T, r *rendered, m *monitoringv1.ServiceMonitor) {
	t.Helper()
	n := 0
	endpoint := m.Spec.Endpoints[0]
	for _, s := range kind[*corev1.Service](r) {
		if matches(&m.Spec.Selector, s.Labels) {
			n++
			if s.Name != m.Name || s.Spec.Ports[0].Name != endpoint.Port {
				t.Errorf("%s watches %s at %s", m.Name, s.Name, endpoint.Port)
			}
		}
	}
	component := m.Labels["app.kubernetes.io/component"]
	job := endpoint.RelabelConfigs[0]
	if n != 1 || job.TargetLabel != "job" || *job.Replacement != "crier-"+component {
		t.Errorf("%s watches %d services: %+v", m.Name, n, job)
	}
	if key := endpoint.Authorization; (key != nil) != (component == "gateway") || key != nil && (key.Type != "Bearer" || key.Credentials.Name == "") {
		t.Errorf("%s: %+v", m.Name, key)
	}
}

// Whatever time is given to end in, Kubernetes gives more.
func TestChartGracePeriod(t *testing.T) {
	t.Parallel()
	for shutdown, sleep := range map[int64]int64{1: 0, 30: 5, 45: 60, 3600: 300} {
		r := render(t, "minimal", fmt.Sprintf("shutdownTimeout=%d,gateway.preStopSleep=%d", shutdown, sleep))
		for component, want := range map[string]int64{"worker": shutdown + 10, "gateway": shutdown + sleep + 10} {
			d := r.objects["Deployment/x-crier-"+component].(*appsv1.Deployment)
			checkRollout(t, d)
			if got := *d.Spec.Template.Spec.TerminationGracePeriodSeconds; got != want || environment(d.Spec.Template.Spec)["SHUTDOWN_TIMEOUT"] != fmt.Sprintf("%ds", shutdown) {
				t.Errorf("%s, %d s and %d s before: killed after %d s", component, shutdown, sleep, got)
			}
		}
	}
}

// Values that contradict each other, are missing or unknown are refused, and told
// by their names.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values, set string
		want        []string
	}{
		{"", "", []string{
			"image.repository: is required", "image.tag: is required", "redis.existingSecret: is required", "chat.org: is required", "chat.app: is required",
			"chat.token.existingSecret: is required, or chat.client", "gateway.apiKeys.existingSecret: is required",
		}},
		{"minimal", "chat.client.id=a,chat.client.existingSecret=b", []string{"chat.token: is given together with chat.client: one of the two"}},
		{"minimal", "chat.client.id=a", []string{"chat.token: is given together"}},
		{"worker-only", "chat.client.id=", []string{"chat.client.id: is required beside chat.client.existingSecret"}},
		{"worker-only", "chat.client.existingSecret=", []string{"chat.client.existingSecret: is required beside chat.client.id"}},
		{"minimal", "serviceMonitor.enabled=true", []string{"serviceMonitor.apiKey.existingSecret: is required"}},
		{"minimal", "networkPolicy.enabled=true", []string{"networkPolicy.gatewayFrom: is required"}},
		{"minimal", "serviceAccount.create=false", []string{"serviceAccount.name: is required"}},
		{"minimal", "serviceAccount.name=a", []string{"serviceAccount.name: is of one that exists"}},
		{"minimal", "settings.CHAT_TOKEN=secret", []string{"at '/settings'", "'CHAT_TOKEN' not allowed"}},
		{"minimal", "worker.settings.REDIS_URL=redis://a", []string{"at '/worker/settings'", "'REDIS_URL' not allowed"}},
		{"minimal", "gateway.settings.CONCURRENCY=1", []string{"at '/gateway/settings'", "'CONCURRENCY' not allowed"}},
		{"minimal", "worker.replica=3", []string{"at '/worker'", "'replica' not allowed"}},
		{"minimal", "shutdownTimeout=30s", []string{"at '/shutdownTimeout'", "want integer"}},
		{"minimal", "shutdownTimeout=0", []string{"at '/shutdownTimeout'"}},
		{"minimal", "gateway.service.type=ExternalName", []string{"at '/gateway/service/type'"}},
		{"minimal", "redis.existingSecret=redis://user:password@redis:6379", []string{"at '/redis/existingSecret'"}},
		{"minimal", "image.repository=registry.example.com/crier:1.0.0", []string{"at '/image/repository'"}},
	} {
		_, err := renderChart(t.Context(), c.values, c.set)
		if err == nil {
			t.Errorf("%s, %s: not refused", c.values, c.set)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: %q is not in %v", c.values, c.set, want, err)
			}
		}
	}
}

func matches(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(set))
}

// environment is the plain variables of the only container.
func environment(pod corev1.PodSpec) map[string]string {
	env := map[string]string{}
	for _, e := range pod.Containers[0].Env {
		env[e.Name] = e.Value
	}
	return env
}
