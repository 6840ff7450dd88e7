package test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// statusKeys are the members of the status document, no more and no less.
var statusKeys = []string{
	"blocked", "blocked_since", "calls", "cancelled", "created_at", "eta_seconds", "failed", "finished_at", "id", "name", "pending",
	"priority", "reasons", "resend_of", "resent", "sent", "started_at", "state", "target_type", "targets_per_second", "throttled", "total",
	"unknown",
}

// Standard output holds what was asked for and nothing else.
func TestStandardOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	send := []string{"send", "--target", "u1", "--target", "u1", "--text", "hello"}
	id := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\n$`)
	loaded := w.enqueue(send...)
	if loaded.code != 0 || !id.MatchString(loaded.out) || loaded.err == "" {
		t.Errorf("send: %+v", loaded)
	}
	if got := w.enqueue(append(send, "--id", "my-id")...); got.code != 0 || got.out != "my-id\n" {
		t.Errorf("send --id: %+v", got)
	}
	asJSON := map[string]string{
		"send":   w.succeed(append(send, "--id", "as-json", "--json")...),
		"status": w.succeed("status", "my-id", "--json"),
	}

	w.worker()
	if got := w.enqueue(append(send, "--wait")...); got.code != 0 || !id.MatchString(got.out) || got.err == "" {
		t.Errorf("send --wait: %+v", got)
	}
	asJSON["send --wait"] = w.succeed(append(send, "--wait", "--json")...)
	asJSON["wait"] = w.succeed("wait", "my-id", "--json")
	asJSON["watch"] = w.succeed("status", "my-id", "--watch", "--json")
	for command, text := range asJSON {
		doc := decode[object](t, text)
		if diff := cmp.Diff(statusKeys, slices.Sorted(maps.Keys(doc))); diff != "" {
			t.Errorf("%s: keys (-want +got):\n%s", command, diff)
		}
		waited := command != "send" && command != "status"
		if doc["total"] != 1.0 || doc["finished_at"] == nil == waited || doc["resend_of"] != nil || (doc["state"] == "finished") != waited {
			t.Errorf("%s: %v", command, doc)
		}
		if _, err := time.Parse(time.RFC3339, fmt.Sprint(doc["created_at"])); err != nil {
			t.Errorf("%s: created_at: %v", command, err)
		}
	}
	if got := w.enqueue("wait", "my-id"); got.code != 0 || got.out != "" || !strings.Contains(got.err, "my-id") {
		t.Errorf("wait: %+v", got)
	}
	if got := w.succeed("status", "my-id"); !strings.Contains(got, "finished") {
		t.Errorf("status: %q", got)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"job-1", "job-2", "job-3"} {
		w.send("--id", id, "--name", "Number "+id, "--target", "u1", "--text", "hello")
	}
	w.send("--id", "later", "--target", "u1", "--text", "hello", "--send-at", "2999-01-01T00:00:00Z")
	for args, want := range map[string][]string{
		"":                             {"later", "job-3", "job-2", "job-1"},
		"--limit 2":                    {"later", "job-3"},
		"--state running":              {"job-3", "job-2", "job-1"},
		"--state running --limit 1":    {"job-3"},
		"--state scheduled":            {"later"},
		"--state finished":             nil,
		"--state loading --limit 1000": nil,
	} {
		var got []string
		for _, doc := range decode[[]object](t, w.succeed(append([]string{"list", "--json"}, strings.Fields(args)...)...)) {
			got = append(got, doc["id"].(string))
			if diff := cmp.Diff(statusKeys, slices.Sorted(maps.Keys(doc))); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("list %s (-want +got):\n%s", args, diff)
		}
	}
	table := w.succeed("list")
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 5 || !strings.Contains(lines[1], "later") || !strings.Contains(table, "Number job-2") {
		t.Errorf("as a table:\n%s", table)
	}
}

// Results tell of targets that nothing has become of yet, too.
func TestResultsOfAPendingJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.send("--target", "u1", "--target", "u2", "--text", "hello")
	want := map[string]row{"u1": {Target: "u1", Outcome: "pending"}, "u2": {Target: "u2", Outcome: "pending"}}
	if diff := cmp.Diff(want, w.rows(id)); diff != "" {
		t.Errorf("NDJSON (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, csvRows(t, w.succeed("results", id, "--outcome", "sent,pending"))); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
	if got := w.succeed("results", id, "--outcome", "sent", "--format", "csv"); strings.Count(got, "\n") != 1 {
		t.Errorf("no row, but the header, is %q", got)
	}
}

// No secret stands in anything that a program writes, whatever happens to it:
// here a lost token, refused calls, lost answers and a Redis that goes away.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]struct {
		vars   []string
		change func(*chatsim.Config)
	}{
		"token": {
			[]string{"CHAT_TOKEN=s3cret-token"},
			func(c *chatsim.Config) { c.Token = "s3cret-token" },
		},
		"credentials": {
			[]string{"CHAT_TOKEN=", "CHAT_CLIENT_ID=the-client", "CHAT_CLIENT_SECRET=s3cret-client"},
			func(c *chatsim.Config) {
				c.Token, c.ClientID, c.ClientSecret, c.TokenCalls = "", "the-client", "s3cret-client", 3
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, auth.change, func(c *chatsim.Config) {
				c.Faults = []chatsim.Fault{{Kind: chatsim.FaultReset, Percent: 10}, {Kind: chatsim.FaultHTML, Percent: 10}, {Kind: chatsim.FaultThrottle, Percent: 10}}
				c.MaxUsers, c.Refused = 5, []string{"user-0"}
			})
			if !w.redis.Real { // never in CI, where Start fails without redis-server
				t.Skip("the embedded Redis has no ACL users")
			}
			redis := w.redis.Client()
			if err := redis.Do(t.Context(), "ACL", "SETUSER", "crier", "on", ">s3cret-redis", "~*", "&*", "+@all").Err(); err != nil {
				t.Fatal(err)
			}
			if err := redis.ConfigSet(t.Context(), "requirepass", "another").Err(); err != nil {
				t.Fatal(err)
			}
			url := "redis://crier:s3cret-redis@" + w.redis.Addr + "/0"
			w = w.with(append(auth.vars, "REDIS_URL="+url, "LOG_LEVEL=debug", "CHAT_MAX_USERS=5")...)

			p := w.worker()
			admin := p.admin(t)
			sent := w.enqueue("send", "--id", "j", "--targets", listFile(t, names(25)...), "--text", "hello", "--wait")
			if sent.code != 3 {
				t.Errorf("send: exit %d", sent.code)
			}
			seen := []string{sent.out, sent.err, w.succeed("status", "j", "--json"), w.succeed("results", "j")}
			_, metrics := get(t, admin+"/metrics")
			w.redis.Kill()
			eventually(t, "the worker finds that Redis is away", func() bool {
				status, body := get(t, admin+"/readyz")
				seen = append(seen, body)
				return status == 503
			})
			gone := w.enqueue("list")
			p.signal(t, syscall.SIGKILL)
			p.result(t)
			wrong := w.with("REDIS_URL=redis://crier:s3cret-redis@127.0.0.1:x").enqueue("list")
			for _, text := range append(seen, metrics, gone.err, wrong.err, p.out.String(), p.err.String()) {
				if at := regexp.MustCompile(`s3cret|YWMt`).FindStringIndex(text); at != nil { // tokens of the simulator begin with YWMt
					t.Errorf("a secret is shown: %.300s", text[max(0, at[0]-100):])
				}
			}
			if !strings.Contains(p.err.String(), `"level":"DEBUG"`) || p.out.String() != "" {
				t.Errorf("the worker wrote %q", p.out.String())
			}
		})
	}
}
