package checks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"crier/internal/chatsim"
	"crier/internal/procs"
	"crier/internal/redistest"
)

// fleet is a whole installation, watched by a Prometheus: two workers, a
// gateway, Redis, and a Chat API that misbehaves.
type fleet struct {
	t          *testing.T
	sim        *chatsim.Server
	redis      *redistest.Server
	workers    [2]string // URLs of their metrics
	gateway    string    // URL
	prometheus prometheus.API
	programs   *procs.Programs
	began      time.Time
}

// needs finds a program, or skips the test: but not in CI, where a test that does
// not run runs nowhere.
func needs(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("%v, and CI=true", err)
	} else if err != nil {
		t.Skipf("no %s in PATH: this test needs a real one", program)
	}
	return path
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	server := needs(t, "prometheus")
	f := &fleet{t: t, redis: redistest.StartReal(t, redistest.With("maxmemory", "256mb")), began: time.Now()}
	f.programs = &procs.Programs{Bin: buildPrograms(t), Dir: t.TempDir()}
	var url string
	f.sim, url = startSim(t)
	app := chatsim.DefaultConfig()
	env := []string{
		"REDIS_URL=" + f.redis.URL, "CHAT_URL=" + url, "CHAT_ORG=" + app.Org, "CHAT_APP=" + app.App,
		"CHAT_CLIENT_ID=" + app.ClientID, "CHAT_CLIENT_SECRET=" + app.ClientSecret, "LOG_FORMAT=json",
		"ADMIN_ADDR=127.0.0.1:0", "CHAT_QUOTA=users=60/s;chatgroups=20/s", "CHAT_MAX_USERS=50", "CHAT_TIMEOUT=2s",
	}
	for i := range f.workers {
		f.workers[i] = "http://" + f.start(env, "admin server listens", "worker")["addr"]
	}
	f.gateway = f.start(env, "the gateway serves", "enqueue", "serve", "--listen", "127.0.0.1:0")["url"]
	f.startPrometheus(server)
	return f
}

// buildPrograms builds the programs that are watched.
func buildPrograms(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/worker", "./cmd/enqueue")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the programs cannot be built: %v\n%s", err, out)
	}
	return bin
}

// startSim starts an API with a little of all that goes wrong.
func startSim(t *testing.T) (sim *chatsim.Server, url string) {
	t.Helper()
	cfg := chatsim.DefaultConfig()
	cfg.Token, cfg.TokenCalls = "", 150
	cfg.Latency, cfg.LatencyJitter = 5*time.Millisecond, 20*time.Millisecond
	cfg.Quotas = chatsim.Quotas{chatsim.Groups: {{Calls: 4, Window: time.Second}}}
	cfg.Refused = []string{"nobody"}
	faults, err := chatsim.ParseFaults("throttle=2,unavailable=4,reset_after=3,reject=3,forbidden=2,truncated=2,slow=3:delay=300ms")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Faults = faults
	if sim, err = chatsim.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	if url, err = sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return sim, url
}

// start starts a program, waits until it says that it is there, and returns what
// it says besides.
func (f *fleet) start(env []string, message, program string, args ...string) map[string]string {
	f.t.Helper()
	p, err := f.programs.Start(f.programs.Command(f.t.Context(), 5*time.Second, env, program, args...))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(p.Kill)
	if err := p.Await(message); err != nil {
		f.t.Fatal(err)
	}
	log, err := os.ReadFile(p.Log)
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		var said map[string]any
		if json.Unmarshal(line, &said) == nil && said["msg"] == message {
			text := map[string]string{}
			for key, value := range said {
				text[key] = fmt.Sprint(value)
			}
			return text
		}
	}
	f.t.Fatalf("%s does not tell its address:\n%s", program, log)
	return nil
}

const alertsFile = "../prometheus/alerts.yml"

// startPrometheus scrapes the fleet each second, under the names that the
// deployment uses, and evaluates the alerts.
func (f *fleet) startPrometheus(program string) {
	f.t.Helper()
	rules := ""
	if path, err := filepath.Abs(alertsFile); err == nil && exists(path) {
		rules = fmt.Sprintf("rule_files: [%q]\n", path)
	}
	address := func(url string) string { return url[len("http://"):] }
	config := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
%sscrape_configs:
  - job_name: crier-worker
    static_configs: [{targets: [%q, %q], labels: {namespace: test}}]
  - job_name: crier-gateway
    static_configs: [{targets: [%q], labels: {namespace: test}}]
`, rules, address(f.workers[0]), address(f.workers[1]), address(f.gateway))
	dir := f.t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	p, port, err := f.programs.Serve("Server is ready to receive web requests", func(port string) *exec.Cmd {
		return f.programs.Command(f.t.Context(), 5*time.Second, nil, program,
			"--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, port), "--web.listen-address=127.0.0.1:"+port)
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(p.Kill)
	client, err := api.NewClient(api.Config{Address: "http://127.0.0.1:" + port})
	if err != nil {
		f.t.Fatal(err)
	}
	f.prometheus = prometheus.NewAPI(client)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// scrape reads the metrics of all processes, as they tell them.
func (f *fleet) scrape() []map[string]*dto.MetricFamily {
	f.t.Helper()
	var all []map[string]*dto.MetricFamily
	for _, url := range []string{f.workers[0], f.workers[1], f.gateway} {
		request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, url+"/metrics", nil)
		if err != nil {
			f.t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			f.t.Fatal(err)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(response.Body)
		_ = response.Body.Close() // read only
		if err != nil {
			f.t.Fatalf("%s: %v", url, err)
		}
		all = append(all, families)
	}
	return all
}

// eventually waits until a condition holds.
func (f *fleet) eventually(what string, within time.Duration, holds func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(within); !holds(); {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited %v in vain: %s", within, what)
		}
		if err := procs.Pause(f.t.Context(), 200*time.Millisecond); err != nil {
			f.t.Fatal(err)
		}
	}
}
