package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/redistest"
)

// gateway is a running `enqueue serve` and what talks to it.
type gateway struct {
	w       *world
	process *process
	url     string
	key     string // "" = none is shown
	client  *http.Client
}

// serve starts a gateway. Its arguments come behind those that every test needs.
func (w *world) serve(args ...string) *gateway {
	w.t.Helper()
	p := command{program: "enqueue", env: w.vars}.start(w.t, append([]string{"serve", "--listen", "127.0.0.1:0", "--log-format", "json"}, args...)...)
	var line struct{ Msg, URL string }
	eventually(w.t, "the gateway tells its URL", func() bool {
		for text := range strings.Lines(p.err.String()) {
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "the gateway serves" {
				return true
			}
		}
		return false
	})
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &gateway{w: w, process: p, url: line.URL, client: &http.Client{Transport: transport, Timeout: 2 * patience}}
}

// reply is an answer to a request.
type reply struct {
	status int
	header http.Header
	body   string
}

// try sends a request. headers are names and values in turn.
func (g *gateway) try(method, path string, body io.Reader, headers ...string) (reply, error) {
	request, err := http.NewRequestWithContext(g.w.t.Context(), method, g.url+path, body)
	if err != nil {
		return reply{}, err
	}
	if g.key != "" {
		request.Header.Set("Authorization", "Bearer "+g.key)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := g.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }() // read only
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(text)}, err
}

func (g *gateway) call(method, path, body string, headers ...string) reply {
	g.w.t.Helper()
	got, err := g.try(method, path, strings.NewReader(body), headers...)
	if err != nil {
		g.w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// wants sends a request that is to be answered so.
func (g *gateway) wants(status int, method, path, body string, headers ...string) reply {
	g.w.t.Helper()
	got := g.call(method, path, body, headers...)
	if got.status != status {
		g.w.t.Fatalf("%s %s: status %d, want %d: %.500s", method, path, got.status, status, got.body)
	}
	return got
}

// list adds a list to a loading job.
func (g *gateway) list(status int, id, text string, headers ...string) reply {
	g.w.t.Helper()
	return g.wants(status, http.MethodPost, "/v1/jobs/"+id+"/targets", text, append([]string{"Content-Type", "text/plain"}, headers...)...)
}

// problem is an error of the gateway.
type problem struct {
	Status        int
	Title, Detail string
	Errors        []struct{ Location, Message string }
}

// refuses sends a request that is to meet a problem with just these fields.
func (g *gateway) refuses(status int, path, body string, fields ...string) problem {
	g.w.t.Helper()
	got := g.wants(status, http.MethodPost, path, body)
	p := decode[problem](g.w.t, got.body)
	var named []string
	for _, e := range p.Errors {
		named = append(named, e.Location)
	}
	if diff := cmp.Diff(fields, named); diff != "" || p.Status != status || got.header.Get("Content-Type") != "application/problem+json" {
		g.w.t.Errorf("%s: %s\nfields (-want +got):\n%s", body, got.body, diff)
	}
	return p
}

// finished waits for the end of a job, as a client does.
func (g *gateway) finished(id string) status {
	g.w.t.Helper()
	var s status
	eventually(g.w.t, id+" is finished", func() bool {
		s = decode[status](g.w.t, g.wants(200, http.MethodGet, "/v1/jobs/"+id, "").body)
		return s.State == "finished"
	})
	return s
}

const loadingJob = `{"target_type":"users","msg":{"type":"txt","msg":"hello"}}`

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGatewayKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("k3y-one\nk3y-two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	for name, vars := range map[string]string{"variable": "ENQUEUE_API_KEYS=k3y-one, k3y-two", "file": "ENQUEUE_API_KEYS_FILE=" + file} {
		t.Run(name, func(t *testing.T) {
			g := w.in(t).with(vars).serve("--log-level", "debug")
			for _, key := range []string{"", "k3y", "k3y-one,k3y-two"} {
				g.key = key
				g.refuses(401, "/v1/jobs", loadingJob)
				g.wants(401, "GET", "/metrics", "")
				g.wants(200, "GET", "/healthz", "")
				g.wants(200, "GET", "/openapi.json", "")
			}
			for _, key := range []string{"k3y-one", "k3y-two"} {
				g.key = key
				g.wants(200, "GET", "/v1/jobs", "")
			}
			if strings.Contains(g.process.err.String(), "k3y") {
				t.Error("the log shows a key")
			}
		})
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d keys in Redis", n)
	}
}

// What is wrong in a document is named as it is written, all of it, and nothing stored.
func TestGatewayNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	for _, tt := range []struct {
		status int
		path   string
		body   string
		fields []string
	}{
		{400, "/v1/jobs", ``, nil},
		{400, "/v1/jobs", `{"target_type":`, nil},
		{400, "/v1/jobs", `{} {}`, nil},
		{422, "/v1/jobs", `[]`, []string{"document"}},
		{422, "/v1/jobs", `{"target":["u1"],"target_type":"users","msg":{"type":"txt","msg":"hi"},"options":{"weight":11}}`, []string{"options.weight"}},
		{422, "/v1/jobs", `{"target":["u1",2,"u 3"],"target_type":"users","msg":{"type":"txt","msg":"hi"}}`, []string{"target[1]", "target[2]"}},
		{422, "/v1/jobs", `{"target":["u1"],"target_type":"users","msg":{"type":"img"},"form":"a","options":{"weight":0,"rate":1}}`, []string{"form", "options.weight", "options.rate", "msg.url"}},
		{422, "/v1/jobs", `{"target":["u1",7],"target_type":"users","msg":{"type":"txt","msg":"hi"},"options":{"weight":0}}`, []string{"options.weight", "target[1]"}},
		{422, "/v1/jobs", `{"target":[],"target_type":"users","msg":{"type":"txt","msg":"hi"}}`, []string{"target"}},
		{422, "/v1/jobs", `{"target":["u1"],"target":["u2"],"target_type":"users","msg":{"type":"txt","msg":"hi"}}`, []string{"target"}},
		{422, "/v1/plan", `{"target_type":"users","msg":{"type":"txt","msg":"hi"}}`, []string{"target"}},
		{422, "/org/app/messages", `{"target_type":"users","msg":{"type":"txt","msg":"hi"}}`, []string{"target"}},
		{422, "/org/app/messages", `{"target":["u1"],"target_type":"users","msg":{"type":"txt","msg":"hi"},"options":{}}`, []string{"options"}},
		{422, "/org/app/messages/users", `{"to":["u1"],"type":"img","body":{"filename":"a"}}`, []string{"body.url"}},
	} {
		p := g.refuses(tt.status, tt.path, tt.body, tt.fields...)
		if tt.status == 400 && !strings.Contains(p.Detail, "invalid JSON") {
			t.Errorf("%q: %+v", tt.body, p)
		}
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d keys in Redis", n)
	}
}

// The same id is the same job, whole or in parts.
func TestGatewayRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, worker := w.serve(), w.worker()
	whole := `{"id":"whole","target":["u1","U1","u2"],"target_type":"users","msg":{"type":"txt","msg":"hello"}}`
	for _, want := range []int{202, 200, 200} {
		got := g.wants(want, "POST", "/v1/jobs", whole)
		if s := decode[status](t, got.body); s.ID != "whole" || s.Total != 2 || got.header.Get("Location") != "/v1/jobs/whole" {
			t.Errorf("%+v", got)
		}
	}
	g.refuses(409, "/v1/jobs", strings.Replace(whole, "hello", "bye", 1), "id")
	for _, want := range []int{202, 200} {
		if got := decode[status](t, g.wants(want, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "parts").body); got.State != "loading" {
			t.Errorf("%+v", got)
		}
	}
	g.wants(409, "POST", "/v1/jobs/parts/start", "")
	for i, want := range []string{`{"added":2,"duplicates":1,`, `{"added":0,"duplicates":3,`} {
		if got := g.list(200, "parts", "u3\nu4\nU3\n"); !strings.HasPrefix(got.body, want) {
			t.Errorf("time %d: %s", i, got.body)
		}
	}
	for range 2 {
		g.wants(202, "POST", "/v1/jobs/parts/start", "")
	}
	g.list(409, "parts", "u5\n")
	for _, id := range []string{"whole", "parts"} {
		if s := g.finished(id); s.Sent != 2 {
			t.Errorf("%+v", s)
		}
	}
	if diff := cmp.Diff(once("u1", "u2", "u3", "u4"), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	w.stop(worker)
}

// A list of any length goes in as it comes, in all forms, a part of it again, and
// each target is sent to once.
func TestGatewayStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	w.worker()
	list := names(100_000)
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "big")
	read, write := io.Pipe()
	go func() { // in chunks, as a database is read
		for at := 0; at < 60_000; at += 500 {
			if _, err := io.WriteString(write, strings.Join(list[at:at+500], "\n")+"\n"); err != nil {
				return // the request has failed, and tells
			}
		}
		_ = write.Close() // never fails
	}()
	got, err := g.try("POST", "/v1/jobs/big/targets", read, "Content-Type", "text/plain")
	if err != nil || got.body != `{"added":60000,"duplicates":0,"invalid":0,"total":60000}`+"\n" {
		t.Fatalf("%v %+v", err, got)
	}
	got = g.list(200, "big", gzipped(t, "username,name\n"+strings.Join(list[50_000:80_000], ",x\n")+",x\n"), "Content-Type", "text/csv", "Content-Encoding", "gzip")
	if !strings.HasPrefix(got.body, `{"added":20000,"duplicates":10000,`) {
		t.Errorf("CSV: %s", got.body)
	}
	got = g.list(200, "big", `{"user":"`+strings.Join(list[80_000:99_900], "\"}\n{\"user\":\"")+"\"}\n", "Content-Type", "application/x-ndjson")
	if !strings.HasPrefix(got.body, `{"added":19900,`) {
		t.Errorf("NDJSON: %s", got.body)
	}
	var several sync.WaitGroup
	for _, name := range list[99_900:] {
		several.Go(func() {
			if got, err := g.try("POST", "/v1/jobs/big/targets", strings.NewReader(name), "Content-Type", "text/plain"); err != nil || got.status != 200 {
				t.Errorf("%v %+v", err, got)
			}
		})
	}
	several.Wait()
	if s := decode[status](t, g.wants(202, "POST", "/v1/jobs/big/start", "").body); s.Total != len(list) {
		t.Errorf("%+v", s)
	}
	if s := g.finished("big"); s.Sent != len(list) {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(once(list...), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
	if rows := g.wants(200, "GET", "/v1/jobs/big/results?outcome=sent", "").body; strings.Count(rows, "\n") != len(list)+1 {
		t.Errorf("%d lines of results", strings.Count(rows, "\n"))
	}
}

// cut sends a request whose body ends before it should, and closes the connection.
func (g *gateway) cut(path, head, body string) {
	g.w.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(g.w.t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		g.w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // that is the point
	request := "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n" + head + "\r\n\r\n" + body
	if _, err := io.WriteString(conn, request); err != nil {
		g.w.t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		g.w.t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		g.w.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || bytes.Contains(answer, []byte(" 200 ")) || bytes.Contains(answer, []byte(" 202 ")) {
		g.w.t.Errorf("%v %s", err, answer)
	}
}

// Of a request that breaks off nothing is seen, and the whole one works.
func TestGatewayCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "j")
	before := w.stored()
	list := strings.Join(names(25_000), "\n") + "\n"
	document := `{"id":"doc","target_type":"users","msg":{"type":"txt","msg":"hello"},"target":["` + strings.Join(names(25_000), `","`) + `"]}`
	for path, body := range map[string]string{"/v1/jobs/j/targets": list, "/v1/jobs": document, "/org/app/messages": document} {
		part := body[:len(body)/2]
		g.cut(path, fmt.Sprintf("Content-Length: %d", len(body)), part)
		g.cut(path, "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n", len(part), part))
		packed := gzipped(t, body)
		g.cut(path, fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d", len(packed)-8), packed[:len(packed)-8])
	}
	eventually(t, "nothing of it is left", func() bool { return w.stored() == before })
	if s := w.status("j"); s.Total != 0 || s.State != "loading" {
		t.Errorf("%+v", s)
	}
	g.wants(404, "GET", "/v1/jobs/doc", "")
	if got := g.list(200, "j", list); !strings.HasPrefix(got.body, `{"added":25000,"duplicates":0,`) {
		t.Errorf("the whole list: %s", got.body)
	}
	g.wants(202, "POST", "/v1/jobs", document)
}

// The Chat API's own calls are taken, with lists of any length and whatever curl
// says that they are.
func TestGatewayDropIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	w.worker()
	const curls = "application/x-www-form-urlencoded"
	var sent []string
	samples, err := filepath.Glob("../internal/apiclient/testdata/request_*.json")
	if err != nil || len(samples) < 10 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	var vars struct{ Org, App string }
	for _, v := range w.vars {
		if rest, ok := strings.CutPrefix(v, "CHAT_ORG="); ok {
			vars.Org = rest
		} else if rest, ok := strings.CutPrefix(v, "CHAT_APP="); ok {
			vars.App = rest
		}
	}
	path := "/" + vars.Org + "/" + vars.App + "/messages"
	for _, sample := range samples {
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		got := g.call("POST", path, string(text), "Content-Type", curls)
		if strings.Contains(sample, "broken") {
			if got.status != 400 || !strings.Contains(got.body, "invalid JSON") || !strings.Contains(got.body, `"error":"json_parse"`) {
				t.Errorf("%s: %+v", sample, got)
			}
			continue
		}
		if got.status != 202 {
			t.Errorf("%s: %+v", sample, got)
			continue
		}
		sent = append(sent, decode[status](t, got.body).ID)
	}
	list := names(3000)
	unified := encode(t, object{"target_type": "users", "target": list, "msg": object{"type": "txt", "msg": "hello"}})
	sent = append(sent, decode[status](t, g.wants(202, "POST", path, unified).body).ID)
	for kind, to := range map[string][]string{"users": {"split-user"}, "chatgroups": {"184524748161025"}, "chatrooms": {"185145305923585"}} {
		split := encode(t, object{"from": "admin", "to": to, "type": "txt", "body": object{"msg": "hello"}})
		sent = append(sent, decode[status](t, g.wants(202, "POST", path+"/"+kind+"?priority=urgent", split, "Content-Type", curls).body).ID)
	}
	g.wants(404, "POST", "/other/app/messages", unified)
	for _, id := range sent {
		if s := g.finished(id); s.Sent != s.Total {
			t.Errorf("%+v", s)
		}
	}
	users := w.journal("users")
	for _, name := range append(list, "split-user") {
		if users[name] != 1 {
			t.Fatalf("%s was sent to %d times", name, users[name])
		}
	}
	if len(w.journal("chatgroups")) != 1 || len(w.journal("chatrooms")) != 1 {
		t.Errorf("groups %v, rooms %v", w.journal("chatgroups"), w.journal("chatrooms"))
	}
}

// Many at a time are all served, and each message is delivered once.
func TestGatewayManyClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	w.worker()
	const clients = 200
	ids := make([]string, clients)
	var all sync.WaitGroup
	for i, name := range names(clients) {
		all.Go(func() {
			body := `{"target":["` + name + `"],"target_type":"users","msg":{"type":"txt","msg":"code"},"options":{"priority":"urgent"}}`
			got, err := g.try("POST", "/v1/jobs", strings.NewReader(body))
			var s status
			if err != nil || got.status != 202 || json.Unmarshal([]byte(got.body), &s) != nil {
				t.Errorf("%v %+v", err, got)
			}
			ids[i] = s.ID
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, id := range ids {
		if s := g.finished(id); s.Sent != 1 {
			t.Errorf("%+v", s)
		}
	}
	if diff := cmp.Diff(once(names(clients)...), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

func TestGatewayControl(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.serve()
	state := func(want, text string) {
		t.Helper()
		if s := decode[status](t, text); s.State != want {
			t.Errorf("%s, want %s", s.State, want)
		}
	}
	job := `{"id":"j","target":["u1","u2","u3"],"target_type":"users","msg":{"type":"txt","msg":"hello"}}`
	plan := decode[map[string]any](t, g.wants(200, "POST", "/v1/plan", job).body)
	if plan["targets"] != 3.0 || plan["calls"] != 1.0 || w.stored() != 0 {
		t.Errorf("%v, %d keys in Redis", plan, w.stored())
	}
	g.wants(202, "POST", "/v1/jobs", job)
	state("paused", g.wants(200, "POST", "/v1/jobs/j/pause", "").body)
	state("running", g.wants(200, "POST", "/v1/jobs/j/resume", "").body)
	g.wants(409, "DELETE", "/v1/jobs/j", "")
	if got := g.wants(200, "POST", "/v1/jobs/j/cancel", ""); decode[status](t, got.body).Cancelled != 3 {
		t.Errorf("cancelled: %s", got.body)
	}
	g.wants(409, "POST", "/v1/jobs/j/resume", "")
	g.wants(409, "POST", "/v1/jobs/j/resend", "")
	again := g.wants(202, "POST", "/v1/jobs/j/resend?outcome=cancelled", "", "Idempotency-Key", "again")
	if s := decode[map[string]any](t, again.body); s["resend_of"] != "j" || s["total"] != 3.0 {
		t.Errorf("%v", s)
	}
	g.wants(200, "POST", "/v1/jobs/j/resend?outcome=cancelled", "", "Idempotency-Key", "again")
	g.wants(204, "DELETE", "/v1/jobs/j", "")
	g.wants(404, "GET", "/v1/jobs/j", "")
	w.worker()
	if s := g.finished("again"); s.Sent != 3 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(once("u1", "u2", "u3"), w.journal("users")); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
}

// stream begins to send a list to a job, and returns what sends on, and what is
// answered in the end. It returns once a part of the list is in Redis.
func (g *gateway) stream(id, text string) (more *io.PipeWriter, answer <-chan reply) {
	g.w.t.Helper()
	before := g.w.stored()
	read, write := io.Pipe()
	done := make(chan reply, 1)
	go func() {
		got, err := g.try("POST", "/v1/jobs/"+id+"/targets", read, "Content-Type", "text/plain")
		if err != nil {
			got.body = err.Error()
		}
		done <- got
	}()
	if _, err := io.WriteString(write, text); err != nil {
		g.w.t.Fatal(err)
	}
	eventually(g.w.t, "a part of the list is in Redis", func() bool { return g.w.stored() > before })
	return write, done
}

// SIGTERM lets a request finish that is under way; a crash leaves nothing of it.
func TestGatewayEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	list := strings.Join(names(20_000), "\n") + "\n"
	g := w.serve()
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "j")
	more, answer := g.stream("j", list)
	g.process.signal(t, syscall.SIGKILL)
	g.process.result(t)
	_ = more.Close() // never fails
	if got := <-answer; got.status != 0 {
		t.Errorf("answered by a crash: %+v", got)
	}
	if s := w.status("j"); s.Total != 0 || s.State != "loading" {
		t.Errorf("%+v", s)
	}

	g = w.serve()
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "k")
	more, answer = g.stream("k", list)
	g.process.signal(t, syscall.SIGTERM)
	eventually(t, "it drains", func() bool { return strings.Contains(g.process.err.String(), "draining") })
	if _, err := io.WriteString(more, "the-last\n"); err != nil {
		t.Fatal(err)
	}
	_ = more.Close() // never fails
	if got := <-answer; got.status != 200 || !strings.HasPrefix(got.body, `{"added":20001,"duplicates":0,`) {
		t.Errorf("%+v", got)
	}
	if got := g.process.result(t); got.code != 0 || got.out != "" {
		t.Errorf("exit %d, %q", got.code, got.out)
	}
	if s := w.status("k"); s.Total != 20_001 {
		t.Errorf("%+v", s)
	}

	g = w.serve()
	if got := g.list(200, "j", list); !strings.HasPrefix(got.body, `{"added":20000,"duplicates":0,`) {
		t.Errorf("the same list after the crash: %s", got.body)
	}
}

// A Redis that is full or away is told as such, and nothing of the request is left.
func TestGatewayWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, redistest.StartReal(t, redistest.AOF()))
	g := w.serve()
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "j")
	before := w.stored()
	job := `{"target":["u1"],"target_type":"users","msg":{"type":"txt","msg":"hello"}}`
	unavailable := func(path, body string) {
		t.Helper()
		if got := g.wants(503, "POST", path, body, "Content-Type", "text/plain"); got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After: %+v", path, got)
		}
	}
	redis := w.redis.Client()
	maxmemory := func(bytes string) {
		t.Helper()
		if err := redis.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	maxmemory("1")
	unavailable("/v1/jobs", job)
	unavailable("/v1/jobs/j/targets", "u1\n")
	if n := w.stored(); n != before {
		t.Errorf("%d keys in Redis, there were %d", n, before)
	}
	maxmemory("0")
	eventually(t, "jobs are taken again", func() bool { return g.call("POST", "/v1/jobs", job).status == 202 })

	w.redis.Kill()
	unavailable("/v1/jobs", job)
	unavailable("/v1/jobs/j/targets", "u1\n")
	unavailable("/v1/jobs/j/pause", "")
	g.wants(503, "GET", "/v1/jobs/j", "")
	g.wants(503, "GET", "/readyz", "")
	g.wants(200, "GET", "/healthz", "")
	w.redis.Restart()
	eventually(t, "it is ready again", func() bool { return g.call("GET", "/readyz", "").status == 200 })
	eventually(t, "jobs are taken again", func() bool { return g.call("POST", "/v1/jobs", job).status == 202 })
	if got := g.list(200, "j", "u1\n"); !strings.Contains(got.body, `"total":1`) {
		t.Errorf("%+v", got)
	}
}
