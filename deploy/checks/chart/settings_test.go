package chart

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
)

// The variables that the chart sets by itself; all others are settings.
var (
	ownOfBoth    = []string{"REDIS_URL", "REDIS_URL_FILE", "SHUTDOWN_TIMEOUT", "CHAT_ORG", "CHAT_APP", "CHAT_TOKEN", "CHAT_TOKEN_FILE", "CHAT_CLIENT_ID", "CHAT_CLIENT_SECRET", "CHAT_CLIENT_SECRET_FILE"}
	ownOfWorker  = append([]string{"ADMIN_ADDR"}, ownOfBoth...)
	ownOfGateway = append([]string{"ENQUEUE_LISTEN", "ENQUEUE_API_KEYS_FILE", "ENQUEUE_TLS_CERT", "ENQUEUE_TLS_KEY"}, ownOfBoth...)
)

var (
	variable = regexp.MustCompile(`\(\$([A-Z_]+)\)`)      // in --help
	faulty   = regexp.MustCompile(`\b[A-Z]+(_[A-Z]+)*: `) // in a report of faults
)

// Every variable of the programs can be set, each where it belongs, and the
// programs understand what the chart sets.
func TestChartSettings(t *testing.T) {
	t.Parallel()
	programs := t.TempDir()
	build := exec.Command("go", "build", "-o", programs, "./cmd/worker", "./cmd/enqueue")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := render(t, "all", "")
	common := schemaNames(t, "settings")
	for _, c := range []struct {
		component, program string
		args               []string
		own                []string
	}{
		{"worker", "worker", nil, ownOfWorker},
		{"gateway", "enqueue", []string{"serve"}, ownOfGateway},
	} {
		program := filepath.Join(programs, c.program)
		help, err := exec.Command(program, append(c.args, "--help")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		known := []string{}
		for _, found := range variable.FindAllStringSubmatch(string(help), -1) {
			known = append(known, found[1])
		}
		own := slices.Concat(c.own, common, schemaNames(t, c.component+".settings"))
		slices.Sort(known)
		slices.Sort(own)
		if diff := cmp.Diff(known, own); diff != "" {
			t.Errorf("%s --help, and the chart's own and its schema's variables (-want +got):\n%s", c.program, diff)
		}
		understands(t, program, c.args, r.objects["Deployment/x-post-"+c.component].(*appsv1.Deployment), known)
	}
}

// schemaNames is the names that the schema allows in a map of settings.
func schemaNames(t *testing.T, where string) []string {
	t.Helper()
	text, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type node struct{ Properties map[string]*node }
	var at *node
	if err := json.Unmarshal(text, &at); err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(where, ".") {
		at = at.Properties[name]
	}
	names := []string{}
	for name := range at.Properties {
		names = append(names, name)
	}
	return names
}

// understands runs a program with the variables of a deployment and one wrong
// flag: it must find fault with nothing else, and starts nothing.
func understands(t *testing.T, program string, args []string, d *appsv1.Deployment, known []string) {
	t.Helper()
	mounted := t.TempDir()
	for name, text := range map[string]string{"redis-url": "redis://127.0.0.1:1/0", "chat-client-secret": "s", "api-keys": "k"} {
		if err := os.WriteFile(filepath.Join(mounted, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.Command(program, append(args, "--shutdown-timeout", "none")...)
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		switch {
		case e.Name == "GOMEMLIMIT": // of Go, not ours
		case !slices.Contains(known, e.Name):
			t.Errorf("%s does not know %s", d.Name, e.Name)
		case strings.HasPrefix(e.Name, "ENQUEUE_TLS_"): // needs a certificate, and is held by checkFiles
		default:
			run.Env = append(run.Env, e.Name+"="+strings.Replace(e.Value, "/run/crier/secrets", mounted, 1))
		}
	}
	var stderr bytes.Buffer
	run.Stderr = &stderr
	_ = run.Run() // the exit code tells
	if got := faulty.FindAllString(stderr.String(), -1); run.ProcessState.ExitCode() != 2 || !slices.Equal(got, []string{"SHUTDOWN_TIMEOUT: "}) {
		t.Errorf("%s: exit %d, %s", d.Name, run.ProcessState.ExitCode(), stderr.String())
	}
}

// A large number stays what it is.
func TestChartQuotesNumbers(t *testing.T) {
	t.Parallel()
	r := render(t, "all", "")
	gateway := environment(r.objects["Deployment/x-post-gateway"].(*appsv1.Deployment).Spec.Template.Spec)
	worker := environment(r.objects["Deployment/x-post-worker"].(*appsv1.Deployment).Spec.Template.Spec)
	for name, want := range map[string]string{"ENQUEUE_MAX_TARGETS": "20000000", "ENQUEUE_MAX_MEMORY": "90", "LOG_LEVEL": "warn"} {
		if gateway[name] != want {
			t.Errorf("%s is %q", name, gateway[name])
		}
	}
	for name, want := range map[string]string{"MAX_ATTEMPTS": "1000000", "KEEP_MESSAGE_IDS": "true", "URGENT_CONCURRENCY": "8", "LOG_LEVEL": "warn"} {
		if worker[name] != want {
			t.Errorf("%s is %q", name, worker[name])
		}
	}
}

// The gateway gets the Chat API's secrets only where it needs them.
func TestChartKeepsSecretsApart(t *testing.T) {
	t.Parallel()
	for set, want := range map[string][]string{
		"gateway.files=false": {"redis-url", "api-keys"},
		"gateway.files=true":  {"redis-url", "chat-token", "api-keys"},
	} {
		var got []string
		for _, s := range render(t, "minimal", set).objects["Deployment/x-crier-gateway"].(*appsv1.Deployment).Spec.Template.Spec.Volumes[0].Projected.Sources {
			got = append(got, s.Secret.Items[0].Path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", set, diff)
		}
	}
}

// Who has installed it is told how to reach it.
func TestChartNotes(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"minimal": "http://x-crier-gateway.mail.svc:80", "all": "https://x-post-gateway.mail.svc:443", "worker-only": "deployment/mailer-worker",
	} {
		if notes := render(t, values, "").notes; !strings.Contains(notes, want) {
			t.Errorf("%s: %s", values, notes)
		}
	}
}
