package test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// Installations that share a Redis know nothing of each other.
func TestNamespacesAreApart(t *testing.T) {
	t.Parallel()
	a := newWorld(t).with("NAMESPACE=a")
	other, url := startSim(t, func(c *chatsim.Config) { c.Org = "other" })
	b := a.with("NAMESPACE=b", "CHAT_ORG=other", "CHAT_URL="+url)
	b.sim = other

	idle := a.send("--id", "idle", "--target", "u0", "--text", "hello") // for a worker that comes later
	b.worker()
	b.send("--id", "same", "--target", "u2", "--text", "hello", "--wait")
	if s := a.status(idle); s.Pending != 1 {
		t.Errorf("the worker of another namespace has touched %+v", s)
	}
	a.worker()
	a.send("--id", "same", "--target", "u1", "--text", "hello", "--wait")
	a.wait(idle, 0)
	if diff := cmp.Diff(once("u0", "u1"), a.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered in a (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(once("u2"), b.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered in b (-want +got):\n%s", diff)
	}
	if list := decode[[]status](t, b.succeed("list", "--json")); len(list) != 1 || list[0].ID != "same" {
		t.Errorf("b lists %+v", list)
	}
	for _, args := range [][]string{{"status", "idle"}, {"wait", "idle"}, {"results", "idle"}} {
		if got := b.enqueue(args...); got.code != 1 {
			t.Errorf("%q in b: exit %d, %s", args, got.code, got.out)
		}
	}
	if got := a.enqueue("status", "idle", "--namespace", "b"); got.code != 1 {
		t.Errorf("with --namespace b: exit %d, %s", got.code, got.out)
	}
}

// Message ids are beyond what a float can hold, so they are strings everywhere.
func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"unified", "split"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).with("KEEP_MESSAGE_IDS=true", "CHAT_API="+form)
			w.worker()
			list := names(700)
			id := w.send("--targets", listFile(t, list...), "--text", "hello", "--wait")
			rows, digits, seen := w.rows(id), regexp.MustCompile(`^\d{18,19}$`), map[string]bool{}
			for _, r := range rows {
				if !digits.MatchString(r.MessageID) || seen[r.MessageID] {
					t.Fatalf("%+v, seen before: %v", r, seen[r.MessageID])
				}
				seen[r.MessageID] = true
			}
			if diff := cmp.Diff(rows, csvRows(t, w.succeed("results", id))); len(rows) != len(list) || diff != "" {
				t.Errorf("%d rows; CSV and NDJSON are not the same:\n%.2000s", len(rows), diff)
			}
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.worker()
		id := w.send("--target", "u1", "--text", "hello", "--wait")
		if r := w.rows(id)["u1"]; r.Outcome != "sent" || r.MessageID != "" {
			t.Errorf("%+v", r)
		}
	})
}

// Of a job whose retention has passed nothing is left.
func TestRetention(t *testing.T) {
	t.Parallel()
	for priority, variable := range map[string]string{"bulk": "JOB_RETENTION", "urgent": "URGENT_RETENTION"} {
		t.Run(priority, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).with(variable + "=2s")
			w.worker()
			w.send("--id", "my-job", "--target", "u1", "--text", "hello", "--priority", priority, "--wait")
			if s := w.status("my-job"); s.Sent != 1 {
				t.Errorf("%+v", s)
			}
			eventually(t, "the record goes", func() bool { return w.enqueue("status", "my-job").code == 1 })
			if got := w.enqueue("results", "my-job"); got.code != 1 || got.out != "" {
				t.Errorf("results: exit %d, %q", got.code, got.out)
			}
			eventually(t, "the list is empty", func() bool { return strings.TrimSpace(w.succeed("list", "--json")) == "[]" })
			eventually(t, "no key is left of it", func() bool { return len(w.keysOf("my-job")) == 0 })
		})
	}
}

// The text of an urgent message, a code perhaps, goes as soon as it is sent.
func TestUrgentTextGoesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	w.send("--target", "u1", "--text", "your code is 123456", "--priority", "urgent", "--wait")
	w.send("--target", "u1", "--text", "the sale begins at 654321", "--wait")
	redis := w.redis.Client()
	keys, err := redis.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	var stored strings.Builder
	for _, key := range keys {
		stored.WriteString(redis.Dump(t.Context(), key).Val()) // "" for one that has just gone
	}
	if !strings.Contains(stored.String(), "654321") {
		t.Error("the text of a bulk message is not found: this test looks in the wrong place")
	}
	if strings.Contains(stored.String(), "123456") {
		t.Error("the text of the urgent message is still there")
	}
}
