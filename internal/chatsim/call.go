package chatsim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// call is one request on its way.
type call struct {
	request  *http.Request
	record   *record
	scratch  *scratch
	body     []byte
	began    time.Time
	accepted *request // what was accepted; nil = nothing
}

// scratch is memory that calls use one after the other.
type scratch struct {
	body    bytes.Buffer
	out     []byte
	targets []string
	seen    map[string]struct{}
}

// refuse books a refusal by the rules and renders it.
func (c *call) refuse(r refusal) answer {
	c.record.count(func(st *Stats) { st.Refused[r.key()]++ })
	return r.answer(c.took())
}

func (c *call) took() time.Duration { return time.Since(c.began) }

// ServeHTTP answers a request to the API, or to the simulator's own /_sim/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPath) {
		s.control.ServeHTTP(w, r)
		return
	}
	memory := s.scratch.Get().(*scratch)
	defer s.scratch.Put(memory)
	c := &call{request: r, record: s.record.Load(), scratch: memory, began: time.Now()}
	a := s.answer(c)
	if c.accepted != nil && (a.ending != endWhole || a.status != http.StatusOK) {
		c.record.lose(c.accepted, s.fates)
	}
	c.record.count(func(st *Stats) {
		switch a.ending {
		case endReset, endHang, endGone:
			st.Unanswered++
		default:
			st.Statuses[a.status]++
		}
	})
	a.write(w)
}

// answer finds the way from the request to its handler. The body is read
// first, so that whatever follows looks to the client as if its request had
// gone out whole.
func (s *Server) answer(c *call) answer {
	path, refused := s.route(c.request.URL.Path)
	limit, memory := s.cfg.MaxBody, &c.scratch.body
	if path == filesPath { // rare and large: no memory for the next call to inherit
		limit, memory = s.maxUpload(), new(bytes.Buffer)
	}
	if !c.readBody(limit, memory) {
		return answer{ending: endGone}
	}
	if outage := *s.outage.Load(); outage != OutageNone {
		c.record.count(func(st *Stats) { st.Outages++ })
		if outage == OutageReset {
			return answer{ending: endReset}
		}
		return unavailable.answer(c.took())
	}
	if refused != nil {
		return c.refuse(*refused)
	}
	method := http.MethodPost
	uuid, download := strings.CutPrefix(path, filesPath+"/")
	if download {
		method = http.MethodGet
	}
	switch {
	case c.request.Method != method:
		a := c.refuse(wrongMethod)
		a.allow = method
		return a
	case download:
		return s.travel(c, s.cfg.Latency, func(c *call) answer { return s.fetchFile(c, uuid) })
	case path == tokenPath:
		return s.travel(c, s.cfg.Latency, s.fetchToken)
	case path == filesPath:
		return s.takeFile(c, s.rng(^s.uploads.Add(1))) // counted from the far end: no message call has the same
	default:
		return s.send(c, messageForms[path], s.rng(s.calls.Add(1)))
	}
}

// rng is what the n-th call draws its fate from.
func (s *Server) rng(n uint64) *rand.Rand { return rand.New(rand.NewPCG(uint64(s.cfg.Seed), n)) }

// readBody reads up to one byte more than limit into memory, which is enough to
// know that a body is too large. It is false if the client did not send it all.
func (c *call) readBody(limit int, memory *bytes.Buffer) bool {
	memory.Reset()
	_, err := memory.ReadFrom(io.LimitReader(c.request.Body, int64(limit)+1))
	c.body = memory.Bytes()
	return err == nil
}

// The other paths below /{org}/{app}/. Below filesPath stands each file, by its
// UUID.
const (
	tokenPath = "token"
	filesPath = "chatfiles"
)

// messageForms are the paths of message calls below /{org}/{app}/.
var messageForms = map[string]form{
	"messages":            {},
	"messages/users":      {split: Users},
	"messages/chatgroups": {split: Groups},
	"messages/chatrooms":  {split: Rooms},
}

// route takes org and app off a path.
func (s *Server) route(path string) (string, *refusal) {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	if len(parts) < 3 {
		return "", &unknownPath
	}
	if parts[0] != s.cfg.Org || parts[1] != s.cfg.App {
		return "", &refusal{
			status: http.StatusNotFound, name: "organization_application_not_found",
			description: fmt.Sprintf("Could not find application for %s/%s from URI: %s", parts[0], parts[1], strings.TrimPrefix(path, "/")),
		}
	}
	path = parts[2]
	_, known := messageForms[path]
	if !known && path != tokenPath && path != filesPath && !strings.HasPrefix(path, filesPath+"/") {
		return "", &unknownPath
	}
	return path, nil
}

// travel handles a call between the two halves of its latency.
func (s *Server) travel(c *call, latency time.Duration, handle func(*call) answer) answer {
	if !wait(c.request.Context(), latency/2, nil) {
		return answer{ending: endGone}
	}
	a := handle(c)
	if !wait(c.request.Context(), latency-latency/2, nil) {
		return answer{ending: endGone}
	}
	return a
}

// forever is longer than anything runs.
const forever time.Duration = 1<<63 - 1

// wait waits for d; it is false if the client left or cut was closed before.
func wait(ctx context.Context, d time.Duration, cut <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-cut:
		return false
	}
}
