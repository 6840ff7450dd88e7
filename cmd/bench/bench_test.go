package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crier/internal/targets"
)

func TestNamesAreValidAndDistinct(t *testing.T) {
	const count = 50_000
	for _, k := range []kind{kindMixed, kindSequential, kindRandom, kindUUIDLike} {
		t.Run(string(k), func(t *testing.T) {
			seen := make(map[string]bool, count)
			var name, normal []byte
			for n := range uint64(count) {
				name = k.appendName(name[:0], n)
				var err error
				if normal, err = targets.Normalize(targets.Users, normal[:0], name); err != nil {
					t.Fatalf("%q: %v", name, err)
				}
				if len(name) != nameLength || !bytes.Equal(name, normal) {
					t.Fatalf("%q: %d bytes, normal form %q", name, len(name), normal)
				}
				seen[string(name)] = true
			}
			if len(seen) != count {
				t.Errorf("%d distinct names of %d", len(seen), count)
			}
		})
	}
}

// Names of very high numbers keep their length and stay apart, too.
func TestNamesOfTenMillion(t *testing.T) {
	for _, k := range []kind{kindMixed, kindSequential, kindRandom, kindUUIDLike} {
		first, last := k.appendName(nil, 9_999_998), k.appendName(nil, 9_999_999)
		if len(first) != nameLength || len(last) != nameLength || bytes.Equal(first, last) {
			t.Errorf("%s: %q and %q", k, first, last)
		}
	}
}

func TestNamesCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names.txt")
	var out, errs bytes.Buffer
	if code := run([]string{"names", "--targets", "3", "--names", "sequential", path}, stdio{&out, &errs}); code != 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "user-000000000000000\nuser-000000000000001\nuser-000000000000002\n"; string(text) != want {
		t.Errorf("names:\n%swant:\n%s", text, want)
	}
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--targets 0":       "--targets",
		"--rounds 0":        "--rounds",
		"--names beautiful": "--names",
		"bare":              "--chat-url",
		"--no-such-flag":    "--no-such-flag",
	} {
		var out, errs bytes.Buffer
		code := run(strings.Fields(args), stdio{&out, &errs})
		if code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("bench %s: exit %d, %q; want 2 and %q", args, code, &errs, want)
		}
	}
}

func TestRedisIsNeeded(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out, errs bytes.Buffer
	code := run(nil, stdio{&out, &errs})
	if code != 1 || !strings.Contains(errs.String(), "redis-server") {
		t.Errorf("exit %d, %q", code, &errs)
	}
}

func TestQuotas(t *testing.T) {
	if got := (&runCommand{}).quotas(); !slices.Equal(got, []string{"auto", knownQuota}) {
		t.Errorf("without --quota: %q", got)
	}
	if got := (&runCommand{Quota: "users=1/s"}).quotas(); !slices.Equal(got, []string{"users=1/s"}) {
		t.Errorf("with --quota: %q", got)
	}
}

func TestParseInfo(t *testing.T) {
	info := parseInfo("# CPU\r\nused_cpu_sys:0.25\r\nused_cpu_user:1.5\r\nused_cpu_sys_children:0.125\r\n" +
		"used_cpu_user_children:0.125\r\n\r\n# Memory\r\nused_memory:1234567\r\nused_memory_human:1.18M\r\n")
	if got := info.cpu().Seconds(); got != 2 {
		t.Errorf("CPU: %v s, want 2", got)
	}
	if got := info.memory(); got != 1_234_567 {
		t.Errorf("memory: %d", got)
	}
	if got := info.number("process_id"); got != 0 {
		t.Errorf("an absent fact is %v", got)
	}
}
