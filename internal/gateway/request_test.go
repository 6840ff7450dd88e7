package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"

	"crier/internal/ledger"
)

// peer is the other side of a connection: what it sends, and when. It heeds the
// deadline that is set on the connection.
type peer struct {
	http.ResponseWriter
	sends    func(read int) (bytes int, after time.Duration) // 0 bytes = it has sent everything
	reads    int
	deadline time.Time
	moved    int // how often the deadline was set
}

func (p *peer) SetReadDeadline(at time.Time) error {
	p.deadline = at
	p.moved++
	return nil
}

func (p *peer) Read(b []byte) (int, error) {
	n, after := p.sends(p.reads)
	p.reads++
	arrives := time.NewTimer(after)
	defer arrives.Stop()
	expires := make(<-chan time.Time)
	if !p.deadline.IsZero() {
		late := time.NewTimer(time.Until(p.deadline))
		defer late.Stop()
		expires = late.C
	}
	select {
	case <-arrives.C:
	case <-expires:
		return 0, os.ErrDeadlineExceeded
	}
	if n == 0 {
		return 0, io.EOF
	}
	return min(n, len(b)), nil
}

// A client may take as long as it likes, so long as enough comes all the time.
func TestBodyGivesUpWhoSendsTooLittle(t *testing.T) {
	const idle = 30 * time.Second
	for name, tt := range map[string]struct {
		sends  func(read int) (int, time.Duration)
		server time.Duration // that passes between two reads
		want   time.Duration // until it is given up, 0 = it is read to its end
	}{
		"at once":    {sends: func(i int) (int, time.Duration) { return []int{100, 0}[i], 0 }},
		"nothing":    {sends: func(int) (int, time.Duration) { return 0, time.Hour }, want: idle},
		"head alone": {sends: func(i int) (int, time.Duration) { return 100, []time.Duration{0, time.Hour}[i] }, want: idle},
		"much, then nothing": {sends: func(i int) (int, time.Duration) {
			if i < 100 {
				return 4096, time.Second
			}
			return 1, time.Hour
		}, want: 100*time.Second + idle},
		"a byte a second":   {sends: func(int) (int, time.Duration) { return 1, time.Second }, want: idle},
		"30 bytes a second": {sends: func(int) (int, time.Duration) { return 30, time.Second }, want: idle},
		"slow, but enough": {sends: func(i int) (int, time.Duration) {
			if i == 200 {
				return 0, 0
			}
			return enough, 25 * time.Second
		}},
		"small pieces, but enough": {sends: func(i int) (int, time.Duration) {
			if i == 2000 {
				return 0, 0
			}
			return 64, time.Second
		}},
		"nobody reads": {sends: func(i int) (int, time.Duration) {
			if i == 20 {
				return 0, 0
			}
			return 1, time.Second
		}, server: time.Hour},
		"nobody reads, then nothing comes": {sends: func(i int) (int, time.Duration) {
			return 1, []time.Duration{0, 0, time.Hour}[i]
		}, server: 20 * time.Minute, want: 40*time.Minute + idle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{sends: tt.sends}
				b := &body{Reader: p, control: http.NewResponseController(p), idle: idle}
				began := time.Now()
				var err error
				for buffer := make([]byte, 64<<10); err == nil; {
					if _, err = b.Read(buffer); err == nil && tt.server > 0 {
						<-time.After(tt.server)
					}
				}
				took := time.Since(began)
				if tt.want == 0 {
					if err != io.EOF { //nolint:errorlint // the end of a stream is io.EOF itself
						t.Errorf("%v after %v", err, took)
					}
					return
				}
				var broken *bodyError
				if !errors.As(err, &broken) || !errors.Is(err, os.ErrDeadlineExceeded) || took < tt.want-time.Second || took > tt.want {
					t.Errorf("%v after %v, want to give up after %v", err, took, tt.want)
				}
			})
		})
	}
}

// Setting a deadline is not free, so many reads share one.
func TestBodySetsFewDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{sends: func(i int) (int, time.Duration) {
			if i == 10_000 {
				return 0, 0
			}
			return 4096, time.Millisecond
		}}
		b := &body{Reader: p, control: http.NewResponseController(p), idle: 30 * time.Second}
		if _, err := io.Copy(io.Discard, b); err != nil {
			t.Fatal(err)
		}
		if p.moved > 15 { // in ten seconds
			t.Errorf("the deadline was set %d times", p.moved)
		}
	})
}

// However short the idle time is, a client has all of it.
func TestBodyWithAShortIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{sends: func(i int) (int, time.Duration) {
			if i == 50 {
				return 0, 0
			}
			return enough, 900 * time.Millisecond
		}}
		b := &body{Reader: p, control: http.NewResponseController(p), idle: time.Second}
		if _, err := io.Copy(io.Discard, b); err != nil {
			t.Errorf("after %d reads: %v", p.reads, err)
		}
	})
}

// impatient is a gateway that gives clients up soon.
func impatient(cfg *Config, _ *Parts) { cfg.IdleTimeout = 150 * time.Millisecond }

// dial opens a connection, for half a minute.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(r.t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() }) // the other side may have closed it before
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

// raw sends text on a connection of its own, and returns what is answered until
// the other side closes it.
func (r *rig) raw(text string) string {
	r.t.Helper()
	conn := r.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		r.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		r.t.Errorf("%v after %q", err, answer)
	}
	return string(answer)
}

// Whoever stalls gets an answer, and holds nothing up.
func TestStalledClients(t *testing.T) {
	r := newRig(t, impatient)
	r.begin("draft")
	before := r.stored()
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	for name, tt := range map[string]struct {
		request string
		want    string
	}{
		"a document":    {"POST /v1/jobs" + host + "Content-Length: 500\r\n\r\n" + document("u1"), "408"},
		"nothing of it": {"POST /v1/jobs" + host + "Content-Length: 500\r\n\r\n", "408"},
		"in chunks":     {"POST /v1/plan" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"tar\r\n", "408"},
		"a list":        {"POST /v1/jobs/draft/targets" + host + "Content-Type: text/plain\r\nContent-Length: 500\r\n\r\nu1\nu2\n", "408"},
		"a packed list": {"POST /v1/jobs/draft/targets" + host + "Content-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: 500\r\n\r\n\x1f\x8b", "408"},
		"drop-in":       {"POST /org/app/messages" + host + "Content-Length: 500\r\n\r\n{", "408"},
		"not read":      {"POST /v1/jobs/none/pause" + host + "Content-Length: 500\r\n\r\n{", "404"},
		"refused":       {"PUT /v1/jobs" + host + "Content-Length: 500\r\n\r\n{", "405"},
		"foreign":       {"POST /v1/jobs HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 500\r\n\r\n{", "403"},
	} {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.t = t
			if got := r.raw(tt.request); !strings.HasPrefix(got, "HTTP/1.1 "+tt.want) || !strings.Contains(got, "application/problem+json") {
				t.Errorf("%q", got)
			}
		})
	}
	if now := r.stored(); now != before {
		t.Errorf("%d keys in Redis, there were %d", now, before)
	}
	if total := r.job("draft").Total; total != 0 {
		t.Errorf("%d targets", total)
	}
}

// The time that the gateway itself takes is no fault of the client.
func TestServersOwnTime(t *testing.T) {
	r := newRig(t, func(cfg *Config, p *Parts) {
		impatient(cfg, p)
		cfg.LargeList = 1
	})
	for range cap(r.gateway.large.free) {
		r.gateway.large.free <- struct{}{}
	}
	go func() {
		<-time.After(4 * r.gateway.cfg.IdleTimeout)
		<-r.gateway.large.free
	}()
	r.wants(r.post("/v1/jobs", document(manyNames(2*loadCheck)...)), 202)
}

// manyNames are u0, u1 and so on.
func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "u" + strconv.Itoa(i)
	}
	return names
}

func packed(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A request has so many bytes at most, as they come; of a longer one nothing is stored.
func TestTooLarge(t *testing.T) {
	const most = 1000
	r := newRig(t, func(cfg *Config, _ *Parts) { cfg.MaxBody = most })
	r.begin("draft")
	before := r.stored()
	long := document(manyNames(500)...)
	list := strings.Repeat("u1\n", 500)
	for name, got := range map[string]reply{
		"document": r.post("/v1/jobs", long),
		"plan":     r.post("/v1/plan", long),
		"drop-in":  r.post("/org/app/messages", long),
		"list":     r.post("/v1/jobs/draft/targets", list, "Content-Type", "text/plain"),
		"chunked":  r.call("POST", "/v1/jobs/draft/targets", io.LimitReader(strings.NewReader(list), 1e6), "Content-Type", "text/plain"),
	} {
		t.Run(name, func(t *testing.T) {
			if p := refused(t, got, 413); !strings.Contains(p.Detail, strconv.Itoa(most)+" bytes") {
				t.Errorf("%+v", p)
			}
		})
	}
	if now := r.stored(); now != before {
		t.Errorf("%d keys in Redis, there were %d", now, before)
	}
	packedDocument := packed(t, `{"target_type":"users","msg":{"type":"txt","msg":"hello"},"target":["u1"`+strings.Repeat(` `, 10*most)+"]}")
	for name, got := range map[string]reply{
		"packed list":     r.post("/v1/jobs/draft/targets", packed(t, list), "Content-Type", "text/plain", "Content-Encoding", "GZIP"),
		"packed document": r.post("/v1/plan", packedDocument, "Content-Encoding", "gzip"),
		"just so":         r.post("/v1/jobs/draft/targets", list[:most-1]+"\n", "Content-Type", "text/plain"),
	} {
		t.Run(name, func(t *testing.T) {
			if got.status != 200 {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

func TestEncodings(t *testing.T) {
	r := newRig(t, nil)
	r.begin("draft")
	whole := packed(t, document("u1"))
	list := []string{"Content-Type", "text/plain", "Content-Encoding"}
	for name, tt := range map[string]struct {
		got    reply
		status int
	}{
		"unknown":       {r.post("/v1/jobs", document("u1"), "Content-Encoding", "br"), 415},
		"not packed":    {r.post("/v1/jobs", document("u1"), "Content-Encoding", "gzip"), 400},
		"empty":         {r.post("/v1/jobs", "", "Content-Encoding", "gzip"), 400},
		"cut":           {r.post("/v1/jobs", whole[:len(whole)-9], "Content-Encoding", "gzip"), 400},
		"damaged":       {r.post("/v1/jobs", whole[:len(whole)-6]+"abcdef", "Content-Encoding", "gzip"), 400},
		"unknown list":  {r.post("/v1/jobs/draft/targets", "u1\n", append(list, "br")...), 415},
		"list unpacked": {r.post("/v1/jobs/draft/targets", "u1\n", append(list, "gzip")...), 422},
		"list cut":      {r.post("/v1/jobs/draft/targets", packed(t, strings.Repeat("u1\n", 9))[:20], append(list, "gzip")...), 400},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tt.got, tt.status) })
	}
	if got := r.job("draft").Total; got != 0 {
		t.Errorf("%d targets", got)
	}
	r.wants(r.post("/v1/jobs", whole, "Content-Encoding", "gzip"), 202)
	r.wants(r.post("/v1/jobs", document("u1"), "Content-Encoding", "identity"), 202)
}

// Of more requests than there is room for, the last are told to come again; only
// whether the gateway lives is told always.
func TestTooManyRequests(t *testing.T) {
	r := newRig(t, func(cfg *Config, _ *Parts) { cfg.MaxClients = 2 })
	var ends []func()
	for range 2 {
		read, write := io.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/v1/jobs", read)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := send(request); err != nil || got.status != 202 {
				t.Errorf("%v %+v", err, got)
			}
		}()
		ends = append(ends, func() {
			_, _ = io.WriteString(write, document("u1")) // the status tells
			_ = write.Close()                            // never fails
			<-ended
		})
	}
	eventually(t, "both are under way", func() bool { return len(r.gateway.clients) == 2 })
	got := r.get("/v1/jobs")
	if refused(t, got, 503); got.header.Get("Retry-After") != "2" {
		t.Errorf("%v", got.header)
	}
	r.wants(r.get("/healthz"), 200)
	r.wants(r.get("/metrics"), 200)
	for _, end := range ends {
		end()
	}
	r.wants(r.get("/v1/jobs"), 200)
}

// So many large lists are taken in at a time; the next waits until one has ended.
func TestLargeListsWait(t *testing.T) {
	r := newRig(t, func(cfg *Config, _ *Parts) { cfg.Large, cfg.LargeList = 1, loadCheck })
	r.gateway.large.free <- struct{}{}
	small := strings.Join(manyNames(loadCheck-1), "\n")
	large := strings.Join(manyNames(3*loadCheck), "\n")
	for _, id := range []string{"small", "large"} {
		r.begin(id)
	}
	r.wants(r.post("/v1/jobs/small/targets", small, "Content-Type", "text/plain"), 200)
	done := make(chan reply, 1)
	go func() { done <- r.post("/v1/jobs/large/targets", large, "Content-Type", "text/plain") }()
	select {
	case got := <-done:
		t.Errorf("a second large list was taken in: %+v", got)
	case <-time.After(100 * time.Millisecond):
	}
	<-r.gateway.large.free
	r.wants(<-done, 200)
	if total := r.job("large").Total; total != 3*loadCheck {
		t.Errorf("%d targets", total)
	}
	if n := len(r.gateway.large.free); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

// A large list does not wait for ever, nor for a client that has gone.
func TestLargeListsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{middling: newPlaces(9), large: newPlaces(1)}
		if err := g.newLoad(t.Context()).grow(true); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var p *Problem
		if err := g.newLoad(t.Context()).grow(true); !errors.As(err, &p) || p.Status != 503 || p.GetHeaders().Get("Retry-After") != "10" || time.Since(began) != patience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := g.newLoad(ctx).grow(true); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &p) && p.Status != 503 || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// A job has so many targets at most, in however many lists.
func TestMaxTargets(t *testing.T) {
	r := newRig(t, func(cfg *Config, _ *Parts) { cfg.MaxTargets = 3 })
	r.wants(r.post("/v1/jobs", document("u1", "u2", "u3", "U1")), 202)
	refused(t, r.post("/v1/jobs", document("u1", "u2", "u3", "u4")), 422)
	refused(t, r.post("/v1/plan", document("u1", "u2", "u3", "u4")), 422)
	r.begin("draft")
	list := func(text string) reply {
		return r.post("/v1/jobs/draft/targets", text, "Content-Type", "text/plain")
	}
	r.wants(list("u1\nu2\n"), 200)
	if p := refused(t, list("u3\nu4\n"), 422); len(p.Errors) != 1 || p.Errors[0].Location != "target" {
		t.Errorf("%+v", p)
	}
	r.wants(list("u3\nu1\n"), 200)
	if s := r.job("draft"); s.Total != 3 || s.State != ledger.StateLoading {
		t.Errorf("%+v", s)
	}
}

// A gateway that meets a full Redis says so, and when to come again.
func TestFullRedis(t *testing.T) {
	r := newRig(t, nil)
	if !r.redis.Real {
		t.Skip("the embedded Redis has no bound")
	}
	r.begin("draft")
	before := r.stored()
	if err := r.client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]reply{
		"job":   r.post("/v1/jobs", document("u1")),
		"draft": r.post("/v1/jobs", draft),
		"list":  r.post("/v1/jobs/draft/targets", "u1\n", "Content-Type", "text/plain"),
		"call":  r.post("/org/app/messages", document("u1")),
	} {
		t.Run(name, func(t *testing.T) {
			if p := refused(t, got, 503); !strings.Contains(p.Detail, "Redis is full") || got.header.Get("Retry-After") != "10" {
				t.Errorf("%v %+v", got.header, p)
			}
		})
	}
	if now := r.stored(); now != before {
		t.Errorf("%d keys in Redis, there were %d", now, before)
	}
}

// A client that takes nothing of what it is sent is given up, one that takes it
// slowly is not.
func TestAnswerMovesItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, idle := range []time.Duration{time.Second, 30 * time.Second} {
			w := &slowWriter{ResponseWriter: httptest.NewRecorder(), takes: idle * 9 / 10}
			a := &answer{ResponseWriter: w, control: http.NewResponseController(w), idle: idle}
			for i := range 20 {
				if _, err := a.Write([]byte("row\n")); err != nil {
					t.Errorf("idle %v, write %d: %v", idle, i, err)
				}
			}
			w.takes = 2 * idle
			began := time.Now()
			if _, err := a.Write(nil); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > idle {
				t.Errorf("idle %v: %v after %v", idle, err, time.Since(began))
			}
			if a.status != 200 {
				t.Errorf("status %d", a.status)
			}
		}
	})
}

// slowWriter is a connection whose client takes its time.
type slowWriter struct {
	http.ResponseWriter
	takes    time.Duration
	deadline time.Time
}

func (w *slowWriter) SetWriteDeadline(at time.Time) error {
	w.deadline = at
	return nil
}

func (w *slowWriter) Write(b []byte) (int, error) {
	if until := time.Until(w.deadline); until < w.takes {
		<-time.After(until)
		return 0, os.ErrDeadlineExceeded
	}
	<-time.After(w.takes)
	return len(b), nil
}
