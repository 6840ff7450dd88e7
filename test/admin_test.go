package test

import (
	"net/http"
	"strings"
	"testing"

	"crier/internal/chatsim"
)

// A worker whose Redis answers and takes nothing is not ready, and says why; when it
// takes something again, the worker goes on.
func TestNotReadyOnAReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if !w.redis.Real {
		t.Skip("an embedded server cannot become a replica")
	}
	p := w.worker()
	client := w.redis.Client()
	if err := client.SlaveOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says that it is not ready, and why", func() bool {
		status, body := get(t, p.admin(t)+"/readyz")
		return status == 503 && strings.Contains(body, "READONLY")
	})
	if err := client.SlaveOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it gets ready again", func() bool { status, _ := get(t, p.admin(t)+"/readyz"); return status == 200 })
	w.send("--target", "u1", "--text", "hello", "--wait")
}

// A worker whose calls are held is ready, and says what for.
func TestReadyWhileHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Token = "another" })
	p := w.worker()
	w.send("--target", "u1", "--text", "hello")
	eventually(t, "it says that calls are held", func() bool {
		status, body := get(t, p.admin(t)+"/readyz")
		return status == 200 && strings.Contains(body, "ready; calls for users are held: unauthorized since ")
	})
}

// The queues are there from the start, and nobody can change them; profiles are there if asked for.
func TestAdminPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.worker()
	url := p.admin(t)
	if status, body := get(t, url+"/queues/api/queues"); status != 200 || strings.Count(body, `"queue":"crier-`) != 3 {
		t.Errorf("queues: %d %s", status, body)
	}
	if status, body := get(t, url+"/queues"); status != 200 || !strings.Contains(body, "Asynq") {
		t.Errorf("the page: %d %.200s", status, body)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/queues/api/queues/crier-bulk:pause", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("pausing a queue: %v, %v", response, err)
	}
	if err == nil {
		_ = response.Body.Close() // read only
	}
	w.send("--target", "u1", "--text", "hello", "--wait")
	if status, _ := get(t, url+"/debug/pprof/"); status != 404 {
		t.Errorf("profiles: %d", status)
	}
	w.stop(p)
	p = w.with("PPROF=true").worker()
	if status, body := get(t, p.admin(t)+"/debug/pprof/goroutine?debug=1"); status != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("profiles: %d %.100s", status, body)
	}
}
