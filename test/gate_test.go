package test

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"crier/internal/chatsim"
)

// Without any setting the fleet finds out what the API allows, in calls, and
// says so; what it has learned outlives its workers.
func TestQuotaIsLearned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quota(t, "users=30/s@sliding")).with("CHAT_MAX_USERS=10")
	first, second := w.worker(), w.worker()
	id := w.send("--targets", listFile(t, names(4000)...), "--text", "hello") // 400 calls, 13 s
	w.wait(id, 0)
	if s := w.sim.Stats(); s.Refused["429 reach_limit"] == 0 || s.Refused["429 reach_limit"]*4 > s.Calls {
		t.Errorf("of %d calls, refused were %v", s.Calls, s.Refused)
	}
	w.stop(first)
	w.stop(second)
	learned, _ := decode[object](t, w.succeed("plan", "--target", "u1", "--text", "hello", "--json"))["learned"].(string)
	match := regexp.MustCompile(`^users=(\d+)/m$`).FindStringSubmatch(learned)
	if match == nil {
		t.Fatalf("learned: %q", learned)
	}
	if perMinute, err := strconv.Atoi(match[1]); err != nil || perMinute < 20*60 || perMinute > 33*60 {
		t.Errorf("of 1800 calls a minute, %s are believed in", match[1])
	}
}

// A gate that cannot be asked makes nobody go without pace: each worker keeps
// to what it was granted before.
func TestGateThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t).with("CHAT_QUOTA=users=40/s", "CHAT_MAX_USERS=10")
	w.worker()
	w.worker()
	id := w.send("--targets", listFile(t, names(4000)...), "--text", "hello") // 400 calls
	eventually(t, "the quota has been used for a while", func() bool { return w.sim.Stats().AcceptedCalls >= 200 })
	redis := w.redis.Client()
	for _, key := range []string{"calls", "targets"} {
		if err := redis.Del(t.Context(), "crier:{gate:users}:"+key).Err(); err != nil {
			t.Fatal(err)
		}
		if err := redis.Set(t.Context(), "crier:{gate:users}:"+key, "no hash", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	broken, began := w.sim.Stats().AcceptedCalls, time.Now()
	if s := w.wait(id, 0); s.Sent != 4000 {
		t.Errorf("%+v", s)
	}
	calls, took := w.sim.Stats().AcceptedCalls-broken, time.Since(began)
	if rate := float64(calls) / took.Seconds(); rate > 45 {
		t.Errorf("without the gate, %d calls went in %v", calls, took)
	}
	if got := len(w.journal(chatsim.Users)); got != 4000 {
		t.Errorf("%d targets were sent to", got)
	}
}
