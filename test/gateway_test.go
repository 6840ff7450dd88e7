package test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
