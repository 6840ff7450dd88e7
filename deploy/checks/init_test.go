package checks

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// runInit runs the script of the service `init` with a wget that ends as told,
// and gives back what it says and whether it succeeded.
func runInit(t *testing.T, keys, wget string, env []string, args ...string) (string, bool) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "wget"), []byte("#!/bin/sh\nexit "+wget+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	metrics := filepath.Join(keys, "metrics") // a volume of its own
	if err := os.MkdirAll(metrics, 0o755); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "sh", append([]string{filepath.Join(repository, "deploy/compose/init.sh")}, args...)...)
	command.Env = append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "KEYS=" + keys, "METRICS=" + metrics}, env...)
	out, err := command.CombinedOutput()
	return string(out), err == nil
}

func TestInitRefusesToSendToTheWrongPlace(t *testing.T) {
	const there, away, broken = "0", "1", "127"
	for _, tt := range []struct {
		name, wget string
		env        []string
		ok         bool
		want       string
	}{
		{"a trial", there, nil, true, "to the simulator"},
		{"a real app", away, realApp, true, "to acme/shop at https://chat.example.com"},
		{"neither", away, nil, false, "--profile sandbox"},
		{"half", away, realApp[:3], false, "missing settings: CHAT_CLIENT_ID CHAT_CLIENT_SECRET_FILE"},
		{"an empty one", away, append(realApp[1:], "CHAT_URL="), false, "missing settings: CHAT_URL"},
		{"both", there, realApp, false, "are for a real app"},
		{"one setting in a trial", there, realApp[1:2], false, "are for a real app: CHAT_ORG"},
		{"who knows", broken, realApp, false, "no wget"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, ok := runInit(t, t.TempDir(), tt.wget, tt.env)
			if ok != tt.ok || !strings.Contains(said, tt.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("succeeded: %t; it said: %s", ok, said)
			}
			if !tt.ok && !strings.HasPrefix(said, "crier: nothing is started: ") {
				t.Errorf("a refusal that is not clear: %s", said)
			}
		})
	}
}

func TestInitMakesKeysOnce(t *testing.T) {
	dir := t.TempDir()
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	run := func() {
		t.Helper()
		if said, ok := runInit(t, dir, "0", nil); !ok {
			t.Fatal(said)
		}
	}
	run()
	keys, metrics := read("api-keys"), read("metrics/metrics-key")
	if !regexp.MustCompile(`^[0-9a-f]{64}\n[0-9a-f]{64}\n$`).MatchString(keys) || !strings.HasSuffix(keys, "\n"+metrics+"\n") {
		t.Errorf("keys %q, that for metrics %q", keys, metrics)
	}
	client, _, _ := strings.Cut(keys, "\n")
	if client == metrics {
		t.Error("the two keys are one")
	}
	if said, ok := runInit(t, dir, "1", nil, "key"); !ok || said != client+"\n" {
		t.Errorf("key: %t, %q", ok, said)
	}
	run()
	if read("api-keys") != keys || read("metrics/metrics-key") != metrics {
		t.Error("a second run made others")
	}
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		run()
	}
	if remove("metrics/metrics-key"); read("api-keys") != keys || read("metrics/metrics-key") != metrics {
		t.Error("a copy that was lost is not made again")
	}
	remove("api-keys")
	if now := read("api-keys"); strings.Contains(now, client) || strings.Contains(now, metrics) || !strings.HasSuffix(now, "\n"+read("metrics/metrics-key")+"\n") {
		t.Errorf("keys made anew: %q, were %q", now, keys)
	}
	for _, name := range []string{"api-keys", "metrics/metrics-key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("others cannot read %s: %v, %v", name, info, err)
		}
	}
}
