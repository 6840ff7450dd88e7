package test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// defaults are the variables of the worker with what stands for them when they
// are not set.
var defaults = map[string]string{
	"REDIS_URL": "redis://127.0.0.1:6379/0", "NAMESPACE": "crier",
	"CHAT_URL": "https://a1.easecdn.com", "CHAT_ORG": "", "CHAT_APP": "",
	"CHAT_TOKEN": "", "CHAT_CLIENT_ID": "", "CHAT_CLIENT_SECRET": "",
	"CHAT_API": "unified", "CHAT_MAX_BODY": "5120", "CHAT_MAX_MESSAGE": "4096",
	"CHAT_MAX_USERS": "600", "CHAT_MAX_GROUPS": "600", "CHAT_MAX_ROOMS": "600",
	"CHAT_QUOTA": "auto", "CHAT_TIMEOUT": "15s", "CONCURRENCY": "32", "URGENT_CONCURRENCY": "8",
	"MAX_ATTEMPTS": "0", "GIVE_UP_AFTER": "24h", "ADMIN_ADDR": "127.0.0.1:9464", "PPROF": "false", "SHUTDOWN_TIMEOUT": "30s",
	"JOB_RETENTION": "168h", "URGENT_RETENTION": "24h", "KEEP_MESSAGE_IDS": "false",
	"LOG_LEVEL": "info", "LOG_FORMAT": "text on a terminal, else json",
	"CHAT_TOKEN_FILE": "", "CHAT_CLIENT_SECRET_FILE": "", "REDIS_URL_FILE": "",
}

// rightSettings are enough for a worker.
var rightSettings = []string{"CHAT_ORG=chat-demo", "CHAT_APP=testapp", "CHAT_TOKEN=demo-token", "ADMIN_ADDR=off"}

func runWorker(t *testing.T, vars []string, args ...string) result {
	t.Helper()
	return command{program: "worker", env: vars}.run(t, args...)
}

// refusesToStart checks that the settings are found wrong, and each of these named.
func refusesToStart(t *testing.T, got result, variables ...string) {
	t.Helper()
	if got.code != 2 || got.out != "" {
		t.Errorf("exit %d, standard output %q", got.code, got.out)
	}
	for _, name := range variables {
		if !regexp.MustCompile(`(?m)^` + name + `:|[^\w]` + name + `: `).MatchString(got.err) {
			t.Errorf("%s is not named", name)
		}
	}
	for _, word := range []string{"s3cret", "panic", "goroutine", "listens", "waiting for Redis"} {
		if strings.Contains(got.err, word) {
			t.Errorf("it says %q", word)
		}
	}
}

func TestEachWrongSettingIsNamed(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{
		"REDIS_URL=http://user:s3cret@127.0.0.1", "REDIS_URL=redis://user:s3cret@127.0.0.1:99999/0", "REDIS_URL=redis://:s3cret@127.0.0.1/x",
		"REDIS_URL=redis://:s3cret/x@127.0.0.1:6379", "REDIS_URL_FILE=" + missing, "REDIS_URL_FILE=" + empty,
		"NAMESPACE=a b", "NAMESPACE=:a", "NAMESPACE=a{b}",
		"CHAT_URL=ftp://127.0.0.1", "CHAT_URL=127.0.0.1:80", "CHAT_URL=https://user:s3cret@127.0.0.1", "CHAT_URL=https://a1.easecdn.com?x=1",
		"CHAT_ORG=", "CHAT_ORG=a/b", "CHAT_ORG=a b", "CHAT_APP=", "CHAT_APP=a?b", "CHAT_APP=..",
		"CHAT_TOKEN=", "CHAT_TOKEN_FILE=" + missing, "CHAT_TOKEN_FILE=" + empty,
		"CHAT_API=both", "CHAT_MAX_BODY=1023", "CHAT_MAX_BODY=5kB", "CHAT_MAX_MESSAGE=0", "CHAT_MAX_MESSAGE=x",
		"CHAT_MAX_USERS=0", "CHAT_MAX_GROUPS=-1", "CHAT_MAX_ROOMS=many",
		"CHAT_QUOTA=100/s", "CHAT_QUOTA=users=0/s", "CHAT_QUOTA=users=100", "CHAT_QUOTA=people=1/s", "CHAT_QUOTA=users=1/day",
		"CHAT_QUOTA=users=1/s;users=2/s", "CHAT_QUOTA=users=", "CHAT_TIMEOUT=15", "CHAT_TIMEOUT=0s", "CHAT_TIMEOUT=-1s",
		"CONCURRENCY=0", "CONCURRENCY=1.5", "URGENT_CONCURRENCY=-1", "URGENT_CONCURRENCY=x", "MAX_ATTEMPTS=-1", "MAX_ATTEMPTS=99999999999",
		"GIVE_UP_AFTER=soon", "GIVE_UP_AFTER=-1h", "ADMIN_ADDR=9464", "ADMIN_ADDR=127.0.0.1", "ADMIN_ADDR=127.0.0.1:http:1",
		"ADMIN_ADDR=127.0.0.1:99999", "SHUTDOWN_TIMEOUT=0s", "SHUTDOWN_TIMEOUT=x", "JOB_RETENTION=7d", "JOB_RETENTION=-1s",
		"URGENT_RETENTION=1", "KEEP_MESSAGE_IDS=maybe", "LOG_LEVEL=loud", "LOG_FORMAT=xml",
	} {
		t.Run(wrong, func(t *testing.T) {
			name, _, _ := strings.Cut(wrong, "=")
			vars := append(slices.Clone(rightSettings), wrong)
			if name == "CHAT_TOKEN_FILE" {
				vars = append(vars, "CHAT_TOKEN=")
			}
			refusesToStart(t, runWorker(t, vars), name)
		})
	}
}

func TestAllWrongSettingsAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	vars := []string{
		"REDIS_URL=http://user:s3cret@h", "REDIS_URL_FILE=" + missing, "NAMESPACE=a b", "CHAT_URL=ftp://x:s3cret@y", "CHAT_APP=a/b",
		"CHAT_TOKEN=s3cret-token", "CHAT_TOKEN_FILE=" + missing, "CHAT_CLIENT_SECRET=s3cret-client", "CHAT_CLIENT_SECRET_FILE=" + missing,
		"CHAT_API=x", "CHAT_MAX_BODY=x", "CHAT_MAX_MESSAGE=x", "CHAT_MAX_USERS=x", "CHAT_MAX_GROUPS=x", "CHAT_MAX_ROOMS=x",
		"CHAT_QUOTA=x", "CHAT_TIMEOUT=x", "CONCURRENCY=x", "URGENT_CONCURRENCY=x", "MAX_ATTEMPTS=x", "GIVE_UP_AFTER=x",
		"ADMIN_ADDR=x", "SHUTDOWN_TIMEOUT=x", "JOB_RETENTION=x", "URGENT_RETENTION=x", "KEEP_MESSAGE_IDS=x", "LOG_LEVEL=x", "LOG_FORMAT=x",
	}
	want := []string{"CHAT_ORG"} // not set
	for _, v := range vars {
		if name, _, _ := strings.Cut(v, "="); !strings.HasSuffix(name, "_FILE") { // with a value and a file, it is the value's fault
			want = append(want, name)
		}
	}
	refusesToStart(t, runWorker(t, vars), want...)

	vars = []string{"REDIS_URL_FILE=" + missing, "CHAT_TOKEN_FILE=" + missing, "CHAT_CLIENT_SECRET_FILE=" + missing, "CHAT_CLIENT_ID=a"}
	refusesToStart(t, runWorker(t, vars), "REDIS_URL_FILE", "CHAT_TOKEN_FILE", "CHAT_CLIENT_SECRET_FILE", "CHAT_ORG", "CHAT_APP")
}

func TestTokenOrCredentials(t *testing.T) {
	t.Parallel()
	app := []string{"CHAT_ORG=o", "CHAT_APP=a", "ADMIN_ADDR=off"}
	for name, tt := range map[string]struct {
		vars []string
		want []string
	}{
		"neither":    {nil, []string{"CHAT_TOKEN"}},
		"both":       {[]string{"CHAT_TOKEN=s3cret", "CHAT_CLIENT_ID=i", "CHAT_CLIENT_SECRET=s3cret"}, []string{"CHAT_TOKEN"}},
		"id alone":   {[]string{"CHAT_CLIENT_ID=i"}, []string{"CHAT_CLIENT_SECRET"}},
		"secret":     {[]string{"CHAT_CLIENT_SECRET=s3cret"}, []string{"CHAT_CLIENT_ID"}},
		"also empty": {[]string{"CHAT_TOKEN=", "CHAT_CLIENT_ID=i", "CHAT_CLIENT_SECRET="}, []string{"CHAT_CLIENT_SECRET"}},
	} {
		t.Run(name, func(t *testing.T) {
			refusesToStart(t, runWorker(t, append(slices.Clone(app), tt.vars...)), tt.want...)
		})
	}
}

// What the address of the admin server hides behind is found before work begins.
func TestAdminAddressInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	w := newWorld(t).with("ADMIN_ADDR=" + taken.Addr().String())
	got := w.startWorker().result(t)
	if got.code != 2 || !strings.Contains(got.err, "ADMIN_ADDR") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d keys were stored", n)
	}
}

// A flag wins over its variable, an empty variable counts as unset, and a file
// may hold a secret.
func TestWhereSettingsComeFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	w.vars = append(w.vars,
		"CHAT_API=", "CHAT_QUOTA=", "CONCURRENCY=", "CHAT_MAX_USERS=", "KEEP_MESSAGE_IDS=", "NAMESPACE=", "LOG_LEVEL=", "LOG_FORMAT=",
		"CHAT_CLIENT_ID=", "CHAT_CLIENT_SECRET=", "CHAT_CLIENT_SECRET_FILE=",
		"CHAT_TOKEN=", "CHAT_TOKEN_FILE="+file("demo-token\r\n"), "REDIS_URL=", "REDIS_URL_FILE="+file(w.redis.URL+"\n"),
		"CHAT_APP=wrong", "CHAT_MAX_BODY=wrong", "ADMIN_ADDR=wrong")
	p := command{program: "worker", env: w.vars}.start(t, "--chat-app", "testapp", "--chat-max-body=2048", "--admin-addr=127.0.0.1:0")
	w.send("--targets", listFile(t, names(200)...), "--text", "hello", "--wait")
	if n := len(w.journal("users")); n != 200 || w.sim.Stats().LargestBody > 2048 {
		t.Errorf("%d targets, a body of %d bytes", n, w.sim.Stats().LargestBody)
	}
	w.stop(p)
	if !strings.HasPrefix(p.err.String(), "{") {
		t.Errorf("the log is not JSON:\n%s", p.err.tail())
	}
}

func listFile(t *testing.T, names ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "names.txt")
	if err := os.WriteFile(path, []byte(strings.Join(names, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHelpListsEverySetting(t *testing.T) {
	t.Parallel()
	got := runWorker(t, nil, "--help")
	if got.code != 0 || got.err != "" {
		t.Errorf("exit %d, standard error %q", got.code, got.err)
	}
	entries := map[string]string{} // by the flag's name
	for _, block := range strings.Split(got.out, "\n      --") {
		text := strings.Join(strings.Fields(block), " ")
		name, _, _ := strings.Cut(strings.TrimRight(strings.Fields(text)[0], ","), "=")
		entries[name] = text
	}
	for variable, value := range defaults {
		entry, ok := entries[strings.ToLower(strings.ReplaceAll(variable, "_", "-"))]
		if !ok || !strings.Contains(entry, "$"+variable) || !strings.Contains(entry, value) {
			t.Errorf("%s with default %q is not in the help: %q", variable, value, entry)
		}
	}
}

// version is that of a program and of the Go that has built it.
var version = regexp.MustCompile(`^\S+ \(` + regexp.QuoteMeta(runtime.Version()) + `(, commit [0-9a-f]{12})?\)\n$`)

func TestVersionAndUsage(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"worker", "enqueue"} {
		c := command{program: program}
		if got := c.run(t, "--version"); got.code != 0 || !version.MatchString(got.out) || got.err != "" {
			t.Errorf("%s --version: %+v", program, got)
		}
		if got := c.run(t, "--help"); got.code != 0 || !strings.Contains(got.out, "$REDIS_URL") {
			t.Errorf("%s --help: %+v", program, got)
		}
		for _, wrong := range []string{"--colour", "colour"} {
			if got := c.run(t, wrong); got.code != 2 || !strings.Contains(got.err, wrong) || got.out != "" {
				t.Errorf("%s %s: %+v", program, wrong, got)
			}
		}
	}
	for _, wrong := range [][]string{
		nil,
		{"status"},
		{"wait"},
		{"results"},
		{"status", "a", "b"},
		{"list", "--state", "done"},
		{"list", "--limit", "0"},
		{"list", "--limit", "x"},
		{"results", "a", "--format", "xml"},
		{"results", "a", "--outcome", "lost"},
	} {
		got := command{program: "enqueue"}.run(t, wrong...)
		if got.code != 2 || got.out != "" || got.err == "" {
			t.Errorf("enqueue %q: %+v", wrong, got)
		}
	}
	for variable, value := range map[string]string{"REDIS_URL": "http://u:s3cret@h", "NAMESPACE": "a b", "REDIS_URL_FILE": "/absent"} {
		refusesToStart(t, command{program: "enqueue", env: []string{variable + "=" + value}}.run(t, "list"), variable)
	}
}
