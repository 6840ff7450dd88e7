package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"crier/internal/chatsim"
	"crier/internal/redistest"
)

// slowWorld is an installation with a Redis that can be killed, and an API that
// takes its time: a campaign of 24,000 targets is three segments and 400 calls, 80
// a second by two workers.
func slowWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldOn(t, redistest.StartReal(t, redistest.AOF()), func(c *chatsim.Config) { c.Latency = 200 * time.Millisecond })
	return w.with("CHAT_MAX_USERS=60", "CONCURRENCY=8")
}

// Whatever fails in mid-campaign costs time only.
func TestFaultsCostTimeOnly(t *testing.T) {
	t.Parallel()
	type workers = []*process
	for name, tt := range map[string]struct {
		strike func(t *testing.T, w *world, all workers)
		again  bool // calls may have lost their answers
	}{
		"Redis is killed": {strike: func(_ *testing.T, w *world, _ workers) {
			w.redis.Kill()
			w.redis.Restart()
		}},
		"Redis forgets the slots": {strike: func(t *testing.T, w *world, _ workers) {
			client := w.redis.Client()
			keys, err := client.Keys(t.Context(), "asynq:*").Result()
			if err != nil || len(keys) == 0 {
				t.Fatal(keys, err)
			}
			if err := client.Del(t.Context(), keys...).Err(); err != nil {
				t.Fatal(err)
			}
		}},
		"Redis is full": {strike: func(t *testing.T, w *world, _ workers) {
			memory := func(limit string) {
				if err := w.redis.Client().ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
					t.Fatal(err)
				}
			}
			memory("100kb")
			got := w.enqueue("send", "--target", "u1", "--text", "hello", "--id", "refused")
			if got.code != 1 || !strings.Contains(got.err, "nothing was stored") || len(w.keysOf("refused")) > 0 {
				t.Errorf("send to a full Redis: %+v", got)
			}
			before := w.status("j").Sent
			eventually(t, "what is under way is recorded", func() bool { return w.status("j").Sent > before+1200 })
			memory("0")
		}},
		"a rolling restart": {strike: func(t *testing.T, w *world, all workers) {
			for _, p := range all {
				w.stop(p)
				w.worker()
			}
		}},
		"a worker is killed": {again: true, strike: func(t *testing.T, w *world, all workers) {
			all[0].signal(t, syscall.SIGKILL)
		}},
		"a worker outlives its claims": {again: true, strike: func(t *testing.T, w *world, all workers) {
			all[0].signal(t, syscall.SIGSTOP)
			eventually(t, "others go on with its work", func() bool { return w.status("j").Resent > 0 })
			all[0].signal(t, syscall.SIGCONT)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := slowWorld(t)
			all := workers{w.worker(), w.worker()}
			w.send("--id", "j", "--targets", listFile(t, names(24_000)...), "--text", "hello")
			eventually(t, "all workers are at it", func() bool { return w.sim.Stats().InFlight > 8 && w.status("j").Sent > 0 })
			tt.strike(t, w, all)
			if got := w.tally("j", 0); got.Sent != 24_000 {
				t.Errorf("%+v", got)
			}
			w.checkTold("j")
			// 8 calls in flight, and as many that were marked and not made by then.
			if s := w.status("j"); s.Resent > 2*8*60 || !tt.again && s.Resent > 0 {
				t.Errorf("sent again: %+v", s)
			}
		})
	}
}

// Whoever is told to stop while Redis is away does not wait for it for ever.
func TestStopsWithoutRedis(t *testing.T) {
	t.Parallel()
	w := slowWorld(t).with("SHUTDOWN_TIMEOUT=3s")
	p := w.worker()
	w.send("--id", "j", "--targets", listFile(t, names(6000)...), "--text", "hello")
	eventually(t, "it is at it", func() bool { return w.status("j").Sent > 0 })
	w.redis.Kill()
	began := time.Now()
	w.stop(p)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	w.redis.Restart()
	w.worker()
	if got := w.tally("j", 0); got.Sent != 6000 {
		t.Errorf("%+v", got)
	}
	w.checkTold("j")
}
