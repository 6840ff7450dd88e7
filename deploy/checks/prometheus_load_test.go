package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// job is a status document, as far as it is looked at.
type job struct {
	ID, State                                                                  string
	TargetType                                                                 string `json:"target_type"`
	Priority                                                                   string
	Total, Pending, Sent, Failed, Unknown, Cancelled, Resent, Calls, Throttled int
}

func (j job) ended() bool { return j.State == "finished" || j.State == "cancelled" }

// call makes a request to the gateway, and returns the answer's status and body.
func (f *fleet) call(method, path, body string) (int, []byte) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.gateway+path, strings.NewReader(body))
	if err != nil {
		f.t.Error(err)
		return 0, nil
	}
	request.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(path, "/targets") {
		request.Header.Set("Content-Type", "text/plain")
	} else if strings.HasPrefix(path, "/v1/files") {
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.t.Error(err)
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }() // read only
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Error(err)
	}
	return response.StatusCode, text
}

// must is a call that is answered with 2xx.
func (f *fleet) must(method, path, body string) []byte {
	f.t.Helper()
	status, text := f.call(method, path, body)
	if status/100 != 2 {
		f.t.Errorf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

// send hands in a job; options are its JSON object.
func (f *fleet) send(id, targetType, options string, targets ...string) {
	f.t.Helper()
	list, err := json.Marshal(targets)
	if err != nil {
		f.t.Error(err)
	}
	f.must(http.MethodPost, "/v1/jobs", fmt.Sprintf(`{"id":%q,"target_type":%q,"target":%s,"msg":{"type":"txt","msg":"hello"},"options":%s}`, id, targetType, list, options))
}

// sendList hands in a job whose list comes by itself, and leaves it loading.
func (f *fleet) sendList(id, options string, n int) {
	f.t.Helper()
	f.must(http.MethodPost, "/v1/jobs", fmt.Sprintf(`{"id":%q,"target_type":"users","msg":{"type":"txt","msg":"hello"},"options":%s}`, id, options))
	var list bytes.Buffer
	for i := range n {
		fmt.Fprintf(&list, "%s-%d\n", id, i)
	}
	f.must(http.MethodPost, "/v1/jobs/"+id+"/targets", list.String())
}

// inA is a time from now as a document writes it.
func inA(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }

// standing makes jobs that stay for the whole test, in each state that lasts. The
// campaign cannot be done in time.
func (f *fleet) standing() {
	f.sendList("campaign", fmt.Sprintf(`{"expires_at":%q}`, inA(90*time.Second)), 300_000)
	f.must(http.MethodPost, "/v1/jobs/campaign/start", "")
	f.send("later", "users", fmt.Sprintf(`{"send_at":%q,"expires_at":%q}`, inA(time.Hour), inA(2*time.Hour)), "u1", "u2")
	f.send("paused", "users", fmt.Sprintf(`{"send_at":%q}`, inA(time.Hour)), "u1")
	f.must(http.MethodPost, "/v1/jobs/paused/pause", "")
	f.sendList("loading", `{}`, 10)
}

// load keeps jobs and mistakes coming until it is stopped.
func (f *fleet) load() (stop func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	options, err := redis.ParseURL(f.redis.URL)
	if err != nil {
		f.t.Fatal(err)
	}
	client := redis.NewClient(options)
	queue := asynq.NewClientFromRedisClient(client)
	var all sync.WaitGroup
	every := func(d time.Duration, do func(i int)) {
		all.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				do(i)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	every(100*time.Millisecond, func(i int) {
		f.send(fmt.Sprint("code-", i), "users", `{"priority":"urgent"}`, fmt.Sprint("someone-", i))
	})
	every(400*time.Millisecond, func(i int) {
		f.send(fmt.Sprint("group-", i), "chatgroups", `{"on_unknown":"hold"}`, "g1", "g2", "g3")
		f.send(fmt.Sprint("room-", i), "chatrooms", `{}`, "r1", "nobody")
		f.call(http.MethodPost, "/v1/jobs", "no JSON")
		f.call(http.MethodGet, "/v1/jobs/nobody", "")
	})
	every(200*time.Millisecond, func(i int) { // each one comes again, when it was a job before
		f.put(queue, fmt.Sprint("raw-", i/10), `{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"hello"}}`)
		f.put(queue, fmt.Sprint("wrong-", i/10), `{"target_type":"users"}`)
	})
	every(100*time.Millisecond, func(i int) { // some are refused by the API, which is a 502 of the gateway
		f.call(http.MethodPost, "/v1/files?filename=a.txt", fmt.Sprint("text ", i))
	})
	return func() {
		cancel()
		all.Wait()
		if err := client.Close(); err != nil {
			f.t.Error(err)
		}
	}
}

// put puts a task on the raw queue, unless the same one still waits there.
func (f *fleet) put(queue *asynq.Client, id, payload string) {
	_, err := queue.Enqueue(asynq.NewTask("message:send", []byte(payload)), asynq.Queue("crier-intake"), asynq.TaskID(id), asynq.MaxRetry(math.MaxInt32))
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		f.t.Error(err)
	}
}

// jobs lists all jobs.
func (f *fleet) jobs() (all []job) {
	f.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Jobs       []job
			NextCursor *string `json:"next_cursor"`
		}
		if err := json.Unmarshal(f.must(http.MethodGet, "/v1/jobs?limit=200&cursor="+cursor, ""), &page); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, page.Jobs...)
		if page.NextCursor == nil {
			return all
		}
		cursor = *page.NextCursor
	}
}
