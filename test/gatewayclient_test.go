package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
