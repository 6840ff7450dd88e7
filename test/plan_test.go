package test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// planKeys are the members of a plan, no more and no less.
var planKeys = []string{
	"bound_by", "bytes", "calls", "duplicates", "excluded", "invalid", "invalid_exclude", "largest_body", "learned", "limits_from", "max_body",
	"max_targets", "min_seconds", "quota", "seconds", "segments", "target_type", "targets",
}

// A plan tells what the same command with "send" then does.
func TestPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t).with("CHAT_MAX_BODY=1024")
	list := append(names(1000), "User-9", "user-18", "no name")
	flags := []string{
		"--targets", listFile(t, list...), "--exclude", listFile(t, "user-27", "nobody"), "--skip-invalid",
		"--type", "txt", "--text", "hello", "--id", "j", "--json", "--wait",
	}
	plan := func() object {
		t.Helper()
		doc := decode[object](t, w.succeed(append([]string{"plan"}, flags...)...))
		if keys := w.keysOf("{j}"); len(keys) > 0 || strings.TrimSpace(w.succeed("list", "--json")) != "[]" {
			t.Errorf("it has stored %q", keys)
		}
		if diff := cmp.Diff(planKeys, slices.Sorted(maps.Keys(doc))); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		return doc
	}
	if p := plan(); p["max_body"] != 5120.0 || p["limits_from"] != "default" || p["quota"] != nil || p["seconds"] != nil {
		t.Errorf("before a worker has started: %v", p)
	}
	if n := w.stored(); n != 0 {
		t.Errorf("a plan has left %d keys", n)
	}
	w.worker()
	p := plan()
	if p["max_body"] != 1024.0 || p["limits_from"] != "worker" || p["max_targets"] != 600.0 || p["target_type"] != "users" {
		t.Errorf("limits: %v", p)
	}
	if p["targets"] != 999.0 || p["duplicates"] != 2.0 || p["excluded"] != 1.0 || p["invalid"] != 1.0 || p["invalid_exclude"] != 0.0 {
		t.Errorf("list: %v", p)
	}
	s := decode[status](t, w.succeed(append([]string{"send"}, flags...)...))
	stats := w.sim.Stats()
	if p["targets"] != float64(s.Total) || p["calls"] != float64(s.Calls) || p["largest_body"] != float64(stats.LargestBody) {
		t.Errorf("planned: %v\nsent: %+v in bodies of at most %d bytes", p, s, stats.LargestBody)
	}
	if bytes, _ := p["bytes"].(float64); bytes <= 1024*float64(s.Calls-1) || bytes > 1024*float64(s.Calls) {
		t.Errorf("%v bytes in %d calls", bytes, s.Calls)
	}
	if _, excluded := w.journal(chatsim.Users)["user-27"]; excluded || s.Sent != 999 {
		t.Errorf("%+v; sent to the one that was excluded: %v", s, excluded)
	}
}

func TestPlanForPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.enqueueWith(`{"target_type":"chatgroups","target":["1","2","1"],"msg":{"type":"txt","msg":"hello"},"options":{"max_rate":1}}`,
		"plan", "--job", "-")
	if got.code != 0 || got.err != "" {
		t.Errorf("exit %d, %q", got.code, got.err)
	}
	for _, want := range []string{
		`targets +2 chatgroups`, `duplicates +1\n`, `calls +2\n`, `5120 bytes and 1 targets a call, the defaults`,
		`time +not known: no worker has published a quota, but at least 1s, bound by max_rate\n`,
	} {
		if !regexp.MustCompile(want).MatchString(got.out) {
			t.Errorf("no %s in\n%s", want, got.out)
		}
	}
}

// Every flag of a send that describes the job is one of a plan.
func TestPlanTakesTheFlagsOfSend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := decode[object](t, w.succeed("plan", "--json", "--target-type", "chatrooms", "--target", "1", "--target", "2", "--target", "3",
		"--msg", `{"type":"cmd","action":"sync"}`, "--from", "admin", "--ext", `{"k":"v"}`, "--id", "j", "--name", "a name",
		"--priority", "urgent", "--weight", "3", "--max-rate", "2", "--send-at", "2999-01-01T00:00:00Z",
		"--expires-at", "2999-01-02T00:00:00Z", "--on-unknown", "hold"))
	if p["target_type"] != "chatrooms" || p["calls"] != 2.0 || p["max_targets"] != 2.0 || p["bound_by"] != "max_rate" {
		t.Errorf("%v", p)
	}
	flag := regexp.MustCompile(`(?m)^ +--([a-z-]+)`)
	of := func(verb string) (flags []string) {
		for _, match := range flag.FindAllStringSubmatch(w.succeed(verb, "--help"), -1) {
			flags = append(flags, match[1])
		}
		return flags
	}
	send := slices.DeleteFunc(of("send"), func(name string) bool { return name == "wait" }) // taken, and not shown: it means nothing
	if diff := cmp.Diff(send, of("plan")); diff != "" || len(send) < 20 {
		t.Errorf("flags (-send +plan):\n%s", diff)
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no targets":   {[]string{"--text", "hello"}, "target"},
		"no message":   {[]string{"--target", "u1"}, "message"},
		"wrong target": {[]string{"--target", "u 1", "--text", "hello"}, "target[0]"},
		"wrong option": {[]string{"--target", "u1", "--text", "hello", "--weight", "11"}, "options.weight"},
		"absent list":  {[]string{"--targets", "absent.txt", "--text", "hello"}, "absent.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.refuses(w.enqueue(append([]string{"plan"}, tt.args...)...), tt.want)
		})
	}
	if got := w.with("REDIS_URL=redis://127.0.0.1:1/0").enqueue("plan", "--target", "u1", "--text", "hello"); got.code != 1 || got.out != "" {
		t.Errorf("without Redis: exit %d, %q", got.code, got.out)
	}
}

// A list is never held in memory: a name of a million takes a few bytes, and
// nothing else grows with their number.
func TestMemoryOfALongList(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only there a process tells what memory it has had")
	}
	const count, most = 1_000_000, 50_000 // kB; a process with a list of one name takes 19,000
	file := filepath.Join(t.TempDir(), "long.txt")
	var text bytes.Buffer
	for i := range count {
		fmt.Fprintf(&text, "customer-%011d\n", i)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	p := command{program: "enqueue", env: w.vars}.start(t, "send", "--id", "long", "--targets", file, "--text", "hello", "--wait")
	eventually(t, "the list is loaded", func() bool { return p.out.String() == "long\n" })
	memory, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(memory)
	if peak == nil {
		t.Fatalf("no peak in %s", memory)
	}
	if kB, err := strconv.Atoi(string(peak[1])); err != nil || kB > most {
		t.Errorf("%d names took %d kB (%v)", count, kB, err)
	}
	if s := w.status("long"); s.Total != count {
		t.Errorf("%+v", s)
	}
}
