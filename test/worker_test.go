package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
	"crier/internal/redistest"
)

// A worker that is started before its Redis waits for it, and says so.
func TestWaitsForRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.redis.Kill()
	p := w.startWorker()
	url := p.admin(t)
	eventually(t, "it says that it is not ready, and why", func() bool {
		status, body := get(t, url+"/readyz")
		return status == 503 && strings.Contains(body, "Redis") && strings.Contains(body, w.redis.Addr)
	})
	eventually(t, "it says so in the log", func() bool { return strings.Contains(p.err.String(), "waiting for Redis") })
	if status, _ := get(t, url+"/healthz"); status != 200 {
		t.Errorf("/healthz answers %d", status)
	}
	w.redis.Restart()
	eventually(t, "it gets ready", func() bool { status, _ := get(t, url+"/readyz"); return status == 200 })
	w.send("--target", "u1", "--text", "hello", "--wait")

	w.redis.Kill()
	eventually(t, "it notices that Redis is gone", func() bool { status, _ := get(t, url+"/readyz"); return status == 503 })
	if status, _ := get(t, url+"/healthz"); status != 200 {
		t.Errorf("/healthz answers %d", status)
	}
	w.redis.Restart()
	eventually(t, "it gets ready again", func() bool { status, _ := get(t, url+"/readyz"); return status == 200 })
	w.send("--target", "u2", "--text", "hello", "--wait")
	w.stop(p)
}

// A worker that waits for Redis can be stopped.
func TestStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.redis.Kill()
	p := w.startWorker()
	p.admin(t)
	w.stop(p)
}

func TestNamespaceBelongsToOneApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.worker()
	for _, other := range []string{"CHAT_ORG=other", "CHAT_APP=other"} {
		got := w.with(other).startWorker().result(t)
		if got.code != 2 || !strings.Contains(got.err, "NAMESPACE") || !strings.Contains(got.err, "chat-demo/testapp") {
			t.Errorf("%s: exit %d\n%s", other, got.code, got.err)
		}
	}
	w.stop(p)
	if got := w.with("CHAT_APP=other").startWorker().result(t); got.code != 2 {
		t.Errorf("exit %d after the first worker has gone", got.code)
	}
	w.stop(w.with("CHAT_APP=other", "NAMESPACE=other").worker())
	w.stop(w.worker())
}

func TestWarnsOfARedisThatEvicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.redis = redistest.StartReal(t, redistest.With("maxmemory", "100mb"), redistest.With("maxmemory-policy", "allkeys-lru"))
	w = w.with("REDIS_URL=" + w.redis.URL)
	p := w.worker()
	for line := range strings.Lines(p.err.String()) {
		if strings.Contains(line, "noeviction") {
			if log := decode[object](t, line); log["level"] != "WARN" || log["policy"] != "allkeys-lru" {
				t.Errorf("the warning is %v", log)
			}
			return
		}
	}
	t.Error("it does not warn")
}

// SIGTERM takes no call back and loses none: what is in flight is finished and
// recorded, and another worker does the rest.
func TestStopsWithCallsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Latency, c.MaxUsers = 500*time.Millisecond, 10 })
	w = w.with("CHAT_MAX_USERS=10", "CONCURRENCY=4")
	list := names(200) // 20 calls, 4 at a time
	first := w.worker()
	url := first.admin(t)
	id := w.send("--targets", listFile(t, list...), "--text", "hello")
	eventually(t, "calls are in flight", func() bool { s := w.sim.Stats(); return s.InFlight > 1 && s.AcceptedCalls > 0 })
	first.signal(t, syscall.SIGTERM)
	eventually(t, "it is not ready any more", func() bool {
		status, body := get(t, url+"/readyz")
		return status == 0 || status == 503 && strings.Contains(body, "draining")
	})
	if got := first.result(t); got.code != 0 {
		t.Errorf("exit %d", got.code)
	}
	after, stats := w.status(id), w.sim.Stats()
	if after.Sent != int(stats.AcceptedTargets) || after.Calls != int(stats.Calls) || after.Resent != 0 || after.Pending == 0 || after.Sent == 0 {
		t.Errorf("recorded %+v, but %d targets in %d calls were accepted", after, stats.AcceptedTargets, stats.Calls)
	}
	if stats.Unanswered != 0 || stats.InFlight != 0 {
		t.Errorf("%d calls were cut off, %d are still in flight", stats.Unanswered, stats.InFlight)
	}
	for name, r := range w.rows(id) {
		if (r.Outcome == "sent") != (w.sim.Delivered(chatsim.Users, name) == 1) {
			t.Errorf("%+v, delivered %d times", r, w.sim.Delivered(chatsim.Users, name))
		}
	}

	w.worker()
	if s := w.wait(id, 0); s.Sent != len(list) || s.Resent != 0 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(once(list...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Refused = []string{"u2", "u3"} })
	p := w.worker()
	w.send("--targets", listFile(t, names(1000)...), "--text", "hello", "--wait")
	w.enqueue("send", "--target", "u1", "--target", "u2", "--target", "u3", "--text", "hello", "--wait")
	w.send("--target", "1", "--target", "2", "--target-type", "chatgroups", "--text", "hello", "--priority", "urgent", "--wait")

	families := scrape(t, p.admin(t))
	stats := w.sim.Stats()
	for series, want := range map[string]float64{
		"target_type=users outcome=sent":      float64(len(w.journal(chatsim.Users))),
		"target_type=users outcome=failed":    2,
		"target_type=users outcome=unknown":   0,
		"target_type=users outcome=cancelled": 0,
		"target_type=chatgroups outcome=sent": float64(len(w.journal(chatsim.Groups))),
		"target_type=chatrooms outcome=sent":  0,
	} {
		if got := sum(families["crier_targets_total"], strings.Fields(series)...); got != want {
			t.Errorf("crier_targets_total of %s is %v, want %v", series, got, want)
		}
	}
	for name, want := range map[string]float64{
		"crier_chat_requests_total": float64(stats.Calls), "crier_batches_total": float64(stats.Calls), "crier_build_info": 1,
		"crier_resent_targets_total": 0, "crier_throttled_total": 0,
	} {
		if got := sum(families[name]); families[name] == nil || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := sum(families["crier_chat_requests_total"], "code=200", "endpoint=messages"); got != float64(stats.Calls) {
		t.Errorf("%v requests with code 200, want %d", got, stats.Calls)
	}
	for name, family := range families {
		if family.GetHelp() == "" && strings.HasPrefix(name, "crier_") {
			t.Errorf("%s has no help", name)
		}
	}
}

func TestAdminServerOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t).with("ADMIN_ADDR=off", "LOG_FORMAT=text")
	p := w.startWorker()
	w.send("--target", "u1", "--text", "hello", "--wait")
	w.stop(p)
	if text := p.err.String(); strings.Contains(text, "listens") || !strings.HasPrefix(text, "time=") {
		t.Errorf("the log:\n%s", text)
	}
}
