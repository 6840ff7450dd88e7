package checks

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

const (
	repository  = "../.."
	composeFile = repository + "/docker-compose.yml"
	oneShot     = "init" // the service that ends
)

// realApp is what a .env sets to send to a real app.
var realApp = []string{
	"CHAT_URL=https://chat.example.com", "CHAT_ORG=acme", "CHAT_APP=shop", "CHAT_CLIENT_ID=c1",
	"CHAT_CLIENT_SECRET_FILE=./secrets/chat-client-secret",
}

// stack reads the compose file as Compose does, its schema included.
func stack(t *testing.T, env []string, profiles ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{composeFile}, cli.WithEnv(env), cli.WithProfiles(profiles), cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// told is the value of a variable in the containers of a service; "" = none.
func told(s types.ServiceConfig, variable string) string {
	if value := s.Environment[variable]; value != nil {
		return *value
	}
	return ""
}

func TestTheProfileAddsTheSimulatorAlone(t *testing.T) {
	want := []string{"gateway", "grafana", oneShot, "prometheus", "redis", "worker"}
	for _, env := range [][]string{nil, realApp} {
		if got := slices.Sorted(maps.Keys(stack(t, env).Services)); !slices.Equal(got, want) {
			t.Errorf("services %v, want %v", got, want)
		}
		if got := slices.Sorted(maps.Keys(stack(t, env, "sandbox").Services)); !slices.Equal(got, append([]string{"chatsim"}, want...)) {
			t.Errorf("with the profile: %v", got)
		}
	}
}

// TestServicesAreConfined holds what every service must have.
func TestServicesAreConfined(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z]+(/[a-z]+)?:v?\d+\.\d+\.\d+(-[a-z]+)?$`)
	user := regexp.MustCompile(`^[1-9]\d*:\d+$`)
	for name, s := range stack(t, nil, "sandbox").Services {
		t.Run(name, func(t *testing.T) {
			need := func(ok bool, problem string) {
				t.Helper()
				if !ok {
					t.Error(problem)
				}
			}
			need(s.Build != nil || pinned.MatchString(s.Image), "its image has no exact tag: "+s.Image)
			need(user.MatchString(s.User), "it may be root: "+s.User)
			need(s.ReadOnly && !s.Privileged, "it can write to its image")
			need(slices.Equal(s.CapDrop, []string{"ALL"}) && len(s.CapAdd) == 0, "it has capabilities")
			need(slices.Equal(s.SecurityOpt, []string{"no-new-privileges=true"}), "it can get privileges")
			need(s.ContainerName == "", "there can be one of it only")
			need(s.Logging != nil && s.Logging.Options["max-size"] != "" && s.Logging.Options["max-file"] != "", "its log grows without end")
			if s.Deploy == nil || s.Deploy.Resources.Limits == nil {
				t.Fatal("it has no limits")
			}
			limits := s.Deploy.Resources.Limits
			need(limits.NanoCPUs > 0 && limits.MemoryBytes > 0 && limits.Pids > 0, "it lacks a limit of CPU, memory or processes")
			for _, port := range s.Ports {
				need(port.HostIP == "127.0.0.1", "others can reach its port "+port.Published)
			}
			if name == oneShot {
				need(s.Restart == "no", "it would start again and again")
				return
			}
			need(s.Restart == "unless-stopped", "it stays away once it has failed")
			need(s.HealthCheck != nil && len(s.HealthCheck.Test) > 1 && s.HealthCheck.Test[0] == "CMD", "nobody asks how it is, or a shell does")
			need(s.StopGracePeriod != nil, "nobody has said how long it may take to end")
		})
	}
}

// TestTheEndIsWaitedFor: a worker that is killed leaves lost answers.
func TestTheEndIsWaitedFor(t *testing.T) {
	services := stack(t, nil).Services
	for _, name := range []string{"worker", "gateway"} {
		shutdown, err := time.ParseDuration(told(services[name], "SHUTDOWN_TIMEOUT"))
		if err != nil {
			t.Fatal(err)
		}
		if grace := time.Duration(*services[name].StopGracePeriod); grace < shutdown+5*time.Second {
			t.Errorf("%s: it is killed after %v, but may take %v", name, grace, shutdown)
		}
	}
}

func TestRedisKeepsWhatItIsGiven(t *testing.T) {
	redis := stack(t, nil).Services["redis"]
	command := strings.Join(redis.Command, " ")
	for _, part := range []string{"--dir /data ", "--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"} {
		if !strings.Contains(command, part) {
			t.Errorf("%s is missing in %s", part, command)
		}
	}
	found := regexp.MustCompile(`--maxmemory (\d+)mb`).FindStringSubmatch(command)
	if found == nil {
		t.Fatalf("no maxmemory in %s", command)
	}
	if mb, _ := strconv.ParseInt(found[1], 10, 64); int64(redis.Deploy.Resources.Limits.MemoryBytes) < 2*mb<<20 {
		t.Errorf("the limit does not leave room for a second process that rewrites the file: %d MB", mb)
	}
	if !slices.ContainsFunc(redis.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Type == "volume" && v.Target == "/data" }) {
		t.Error("/data is no volume")
	}
	if len(redis.Ports) != 0 || len(redis.Networks) != 1 || !stack(t, nil).Networks["store"].Internal {
		t.Error("others than workers and gateway can reach it")
	}
}

// TestNoSecretStandsInTheFile looks at names and at what values look like.
func TestNoSecretStandsInTheFile(t *testing.T) {
	secretName := regexp.MustCompile(`(?i)(SECRET|TOKEN|PASSWORD|PASSWD|API_?KEYS?|CREDENTIALS?)$`)
	random := regexp.MustCompile(`^[A-Za-z0-9+/_=-]*\d[A-Za-z0-9+/_=-]*$`)
	for name, s := range stack(t, nil, "sandbox").Services {
		for variable, value := range s.Environment {
			if secretName.MatchString(variable) && value != nil {
				t.Errorf("%s: %s stands there", name, variable)
			}
			if value != nil && len(*value) >= 20 && random.MatchString(*value) {
				t.Errorf("%s: %s looks like a secret", name, variable)
			}
		}
		for _, word := range slices.Concat(s.Command, s.Entrypoint) {
			if len(word) >= 20 && random.MatchString(word) || strings.Contains(word, "requirepass") {
				t.Errorf("%s: %q looks like a secret", name, word)
			}
		}
	}
	example, err := os.ReadFile(filepath.Join(repository, ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(example)) {
		if variable, value, set := strings.Cut(strings.TrimSpace(line), "="); set && secretName.MatchString(variable) && value != "" {
			t.Errorf(".env.example: %s", line)
		}
	}
	if ignored, err := os.ReadFile(filepath.Join(repository, ".gitignore")); err != nil || !strings.Contains(string(ignored), "/.env\n") || !strings.Contains(string(ignored), "/secrets/\n") {
		t.Errorf("git would take .env and secrets: %v", err)
	}
}

func TestWhatIsMountedExists(t *testing.T) {
	project := stack(t, nil, "sandbox")
	var files []string
	for _, s := range project.Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				files = append(files, v.Source)
				if !v.ReadOnly {
					t.Errorf("%s: %s can be written to", s.Name, v.Source)
				}
			}
		}
	}
	for _, s := range project.Secrets {
		files = append(files, s.File)
	}
	if len(files) < 5 {
		t.Errorf("only %d files were found: %v", len(files), files)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

// settingsOf reads which variables a program knows from its sources.
func settingsOf(t *testing.T, files ...string) []string {
	t.Helper()
	var names []string
	for _, pattern := range files {
		paths, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no file (%v)", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range regexp.MustCompile(`env:"([A-Z_]+)"`).FindAllSubmatch(text, -1) {
				names = append(names, string(found[1]))
			}
		}
	}
	return names
}

// TestEverySettingCanBeMade: a setting in .env that is not handed on does
// nothing, and nobody is told. So there are few, and the page names them.
func TestEverySettingCanBeMade(t *testing.T) {
	common := []string{"internal/settings/chat.go", "internal/settings/log.go", "internal/settings/settings.go"}
	fixed := []string{
		"CHAT_TOKEN", "CHAT_TOKEN_FILE", "CHAT_CLIENT_SECRET", "ENQUEUE_API_KEYS", "ENQUEUE_TLS_CERT", "ENQUEUE_TLS_KEY",
		"REDIS_URL", "REDIS_URL_FILE", "ADMIN_ADDR", "SHUTDOWN_TIMEOUT", "ENQUEUE_LISTEN", "ENQUEUE_API_KEYS_FILE",
	}
	page, err := os.ReadFile(filepath.Join(repository, "docs/compose.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range fixed {
		if !strings.Contains(string(page), "`"+variable+"`") {
			t.Errorf("docs/compose.md does not say that .env cannot set %s", variable)
		}
	}
	for service, file := range map[string]string{"worker": "cmd/worker/settings.go", "gateway": "cmd/enqueue/serve.go"} {
		known := settingsOf(t, append(common, file)...)
		var env []string
		for _, variable := range known {
			env = append(env, variable+"=set")
		}
		given := stack(t, env).Services[service].Environment
		for _, variable := range known {
			value, there := given[variable]                                                             // nil = as in .env
			made := there && (value == nil || *value == "set") || variable == "CHAT_CLIENT_SECRET_FILE" // which is mounted
			if made == slices.Contains(fixed, variable) {
				t.Errorf("%s: %s can be set: %t", service, variable, made)
			}
		}
		for variable := range given {
			if variable != "GOMEMLIMIT" && !slices.Contains(known, variable) {
				t.Errorf("%s: there is no setting %s", service, variable)
			}
		}
	}
}

// TestWhoSeesTheKeys: Prometheus reads metrics, and must not be able to send.
func TestWhoSeesTheKeys(t *testing.T) {
	seen := map[string][]string{}
	for name, s := range stack(t, nil, "sandbox").Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume {
				seen[v.Source] = append(seen[v.Source], name)
			}
			if (v.Source == "keys" || v.Source == "metrics-key") && v.ReadOnly == (name == oneShot) {
				t.Errorf("%s: %s is read-only: %t", name, v.Source, v.ReadOnly)
			}
		}
	}
	for volume, want := range map[string][]string{"keys": {"gateway", oneShot}, "metrics-key": {oneShot, "prometheus"}} {
		if slices.Sort(seen[volume]); !slices.Equal(seen[volume], want) {
			t.Errorf("%s is seen by %v, want %v", volume, seen[volume], want)
		}
	}
}

// TestWhereMessagesGo: without settings to the simulator, with them to the app,
// and `init`, which refuses a mixture, sees them as they are given.
func TestWhereMessagesGo(t *testing.T) {
	for _, env := range [][]string{nil, realApp} {
		project := stack(t, env)
		for _, variable := range realApp {
			name, value, _ := strings.Cut(variable, "=")
			if env == nil {
				value = ""
			}
			if got := told(project.Services[oneShot], name); got != value {
				t.Errorf("init is told %s=%s, not %q", name, got, value)
			}
			if name == "CHAT_CLIENT_SECRET_FILE" {
				continue // the containers' own, of the secret
			}
			for _, service := range []string{"worker", "gateway"} {
				if got := told(project.Services[service], name); got == "" || env != nil && got != value {
					t.Errorf("%s with %v is told %s=%s", service, env, name, got)
				}
			}
		}
		for _, service := range []string{"worker", "gateway"} {
			if depends := project.Services[service].DependsOn[oneShot]; depends.Condition != types.ServiceConditionCompletedSuccessfully {
				t.Errorf("%s does not wait for init: %+v", service, depends)
			}
		}
	}
	if got := told(stack(t, nil).Services["worker"], "CHAT_URL"); got != "http://chatsim:8090" {
		t.Errorf("a trial sends to %s", got)
	}
}

// portOf is the port of a variable such as ADMIN_ADDR, which must take calls
// from other containers.
func portOf(t *testing.T, s types.ServiceConfig, variable string) int {
	t.Helper()
	host, port, err := net.SplitHostPort(told(s, variable))
	if err != nil || host != "0.0.0.0" {
		t.Fatalf("%s: %s: host %s, %v", s.Name, variable, host, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPortsFit: what is listened on, published, checked and scraped is one port.
func TestPortsFit(t *testing.T) {
	services := stack(t, nil, "sandbox").Services
	ports := map[string]int{
		"worker":  portOf(t, services["worker"], "ADMIN_ADDR"),
		"gateway": portOf(t, services["gateway"], "ENQUEUE_LISTEN"),
		"chatsim": portOf(t, services["chatsim"], "CHATSIM_LISTEN"),
	}
	for name, port := range ports {
		s := services[name]
		if len(s.Ports) != 1 || int(s.Ports[0].Target) != port {
			t.Errorf("%s: it listens on %d, published is %+v", name, port, s.Ports)
		}
		if test := s.HealthCheck.Test; test[1] != "/healthcheck" || !strings.HasPrefix(test[2], "http://127.0.0.1:"+strconv.Itoa(port)+"/") {
			t.Errorf("%s: it listens on %d, checked is %v", name, port, test)
		}
	}
	if published := services["worker"].Ports[0].Published; !strings.Contains(published, "-") {
		t.Errorf("a second worker has no port beside %s", published)
	}

	text, err := os.ReadFile(filepath.Join(repository, "deploy/prometheus/prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			Authorization struct {
				CredentialsFile string `yaml:"credentials_file"`
			} `yaml:"authorization"`
			Names []struct {
				Names []string `yaml:"names"`
				Port  int      `yaml:"port"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	scraped := map[string]int{}
	for _, job := range config.ScrapeConfigs {
		for _, found := range job.Names {
			scraped[job.JobName+" "+strings.Join(found.Names, " ")] = found.Port
		}
		if (job.JobName == "crier-gateway") != (job.Authorization.CredentialsFile != "") {
			t.Errorf("%s shows the key %q", job.JobName, job.Authorization.CredentialsFile)
		}
		if file := job.Authorization.CredentialsFile; file != "" && !slices.ContainsFunc(services["prometheus"].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Source == "metrics-key" && v.Target == filepath.Dir(file)
		}) {
			t.Errorf("%s is not in the volume of that key", file)
		}
	}
	if want := map[string]int{"crier-worker worker": ports["worker"], "crier-gateway gateway": ports["gateway"]}; !maps.Equal(scraped, want) {
		t.Errorf("scraped are %v, want %v", scraped, want)
	}
}
