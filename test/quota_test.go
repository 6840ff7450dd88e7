package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// quota is what a simulated API allows, as text.
func quota(t *testing.T, text string) func(*chatsim.Config) {
	t.Helper()
	quotas, err := chatsim.ParseQuotas(text)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *chatsim.Config) { c.Quotas = quotas }
}

// Two workers share a known quota, and not one of their calls is refused,
// wherever the API's windows begin. It has the machine for itself: a call that
// is held up on its way for longer than the margin could meet another window.
func TestKnownQuotaIsKept(t *testing.T) {
	w := newWorld(t, quota(t, "users=20/s@sliding,2000t/s@sliding;chatgroups=20/s@sliding,40t/s@sliding"))
	w = w.with("CHAT_QUOTA=users=20/s,2000t/s;chatgroups=20/s,40t/s", "CHAT_MAX_GROUPS=2")
	w.worker()
	w.worker()
	users, groups := names(6000), make([]string, 80)
	for i := range groups {
		groups[i] = fmt.Sprint(66021836783617 + i)
	}
	first := w.send("--targets", listFile(t, users...), "--text", "hello")
	second := w.send("--targets", listFile(t, groups...), "--target-type", "chatgroups", "--text", "hello")
	w.wait(first, 0)
	w.wait(second, 0)
	stats := w.sim.Stats()
	refused := int64(0)
	for _, n := range stats.Refused {
		refused += n
	}
	if refused*20 > stats.Calls { // a machine full of tests may hold a call up for longer than the margin
		t.Errorf("refused: %v of %d calls", stats.Refused, stats.Calls)
	}
	if diff := cmp.Diff(once(users...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("users (-want +got):\n%.2000s", diff)
	}
	if diff := cmp.Diff(once(groups...), w.journal(chatsim.Groups)); diff != "" {
		t.Errorf("groups (-want +got):\n%.2000s", diff)
	}
}

// A one-time code does not wait behind a campaign that uses up the quota.
func TestUrgentGoesBeforeBulk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quota(t, "users=5/s"))
	w = w.with("CHAT_QUOTA=users=5/s", "CHAT_MAX_USERS=10")
	w.worker()
	bulk := w.send("--targets", listFile(t, names(1000)...), "--text", "hello") // 100 calls, 20 seconds
	eventually(t, "the bulk job is under way", func() bool { return w.sim.Stats().AcceptedCalls >= 5 })
	w.send("--target", "u1", "--text", "your code is 123456", "--priority", "urgent", "--wait")
	if got := w.sim.Delivered(chatsim.Users, "u1"); got != 1 {
		t.Errorf("the code was delivered %d times", got)
	}
	if s := w.status(bulk); s.State != "running" || s.Pending < 500 {
		t.Errorf("when the code had been sent, the bulk job was at %+v", s)
	}
}

// A job's own cap on its rate holds it back, and nobody else.
func TestMaxRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	capped := w.send("--targets", listFile(t, names(1000)...), "--text", "slow", "--max-rate", "10")
	eventually(t, "the capped job is under way", func() bool { return w.sim.Stats().AcceptedCalls >= 1 })
	w.send("--targets", listFile(t, names(5000)...), "--text", "fast", "--wait")
	if s := w.status(capped); s.State != "running" || s.Pending < 500 {
		t.Errorf("when the other job was done, the capped one was at %+v", s)
	}
	for _, m := range w.sim.Messages() {
		if body := decode[struct{ Target []string }](t, string(m.LastBody)); m.Targets <= 1000 && len(body.Target) > 10 {
			t.Errorf("a call of the capped job had %d targets", len(body.Target))
		}
	}
}

// One job keeps every worker busy: none takes all of its slots.
func TestWorkersShareAJob(t *testing.T) { // runs alone: who gets a slot is settled in time
	w := newWorld(t, func(c *chatsim.Config) { c.Latency = 50 * time.Millisecond }).with("CONCURRENCY=2", "CHAT_MAX_USERS=200")
	admins := []string{w.worker().admin(t), w.worker().admin(t)}
	id := w.send("--targets", listFile(t, names(300_000)...), "--text", "hello")
	for _, admin := range admins {
		eventually(t, "each worker has sent", func() bool {
			_, metrics := get(t, admin+"/metrics")
			return !strings.Contains(metrics, `crier_batches_total{result="sent",target_type="users"} 0`)
		})
	}
	if s := w.status(id); s.State != "running" {
		t.Errorf("when the last worker began, the job was at %+v", s)
	}
}

// Bulk jobs that run side by side share the quota by their weights.
func TestWeights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quota(t, "users=25/s"))
	w = w.with("CHAT_QUOTA=users=25/s", "CHAT_MAX_USERS=10")
	w.worker()
	list := listFile(t, names(2000)...) // 200 calls
	light := w.send("--targets", list, "--text", "light", "--weight", "1")
	heavy := w.send("--targets", list, "--text", "heavy", "--weight", "4")
	w.wait(heavy, 0)
	w.wait(light, 0)
	// When a quarter of the heavy job is done, the light one is at work for sure, and
	// what it was granted before the heavy one came is recorded.
	at := map[string][]string{}
	for _, job := range []string{light, heavy} {
		for _, r := range w.rows(job) {
			at[job] = append(at[job], r.At)
		}
		slices.Sort(at[job]) // RFC 3339
	}
	from, to := at[heavy][500], at[heavy][len(at[heavy])-1]
	meanwhile := 0
	for _, t := range at[light] {
		if t >= from && t <= to {
			meanwhile++
		}
	}
	if got := 1500 / float64(meanwhile); got < 3 || got > 6 {
		t.Errorf("weights of 4 and 1 led to a share of %.1f to 1", got)
	}
}
