package apiclient

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// say answers every call with this body.
func say(t *testing.T, body string) *Client {
	t.Helper()
	return newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }).URL)
}

// One name with a line end in it is not two targets.
func TestNamesWithLineEnds(t *testing.T) {
	call := usersCall("u1", "u2", "u3")
	answer, err := say(t, `{"data":{"u1\nu2":"success","u3":"success"}}`).Send(t.Context(), call)
	if diff := cmp.Diff([]int{0, 1}, answer.Missing); diff != "" || err != nil {
		t.Errorf("missing (-want +got):\n%s%v", diff, err)
	}
	raw := say(t, "{\"data\":{\"u1\":\"success\",\"u2\nu3\":\"success\"}}")
	if e := wantError(t.Context(), t, raw, call); e.Kind != KindUnknown {
		t.Errorf("of an answer that is no JSON: %v", e)
	}
}

// The answer to a call with very many targets is longer than most.
func TestAnswerToManyTargets(t *testing.T) {
	var users []string
	var data strings.Builder
	for i := range 12_000 {
		users = append(users, fmt.Sprintf("customer-%06d", i))
		_, _ = fmt.Fprintf(&data, ",%q:\"success\"", users[i])
	}
	answer, err := say(t, `{"data":{`+data.String()[1:]+`}}`).Send(t.Context(), usersCall(users...))
	if err != nil || len(answer.Missing)+len(answer.Failed) > 0 {
		t.Errorf("%d missing, %d failed, %.200v", len(answer.Missing), len(answer.Failed), err)
	}
}

// A server may refuse a large body before it has read it, and hang up.
func TestRefusedBeforeItWasRead(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	call := usersCall("a")
	call.Body = append(call.Body, strings.Repeat(" ", 8<<20)...)
	if e := wantError(t.Context(), t, newClient(t, server.URL), call); e.Kind != KindTooLarge {
		t.Errorf("%v", e)
	}
}

// A refusal that is cut short may have said something else: nothing is final.
func TestRefusalCutShort(t *testing.T) {
	server := serveRaw(t, func(conn net.Conn, _ int32) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 90\r\n\r\n{\"error\":\"message_send_er")
		return false
	})
	e := wantError(t.Context(), t, newClient(t, server.url()), usersCall("a"))
	if e.Kind != KindUnavailable || e.Status != http.StatusForbidden {
		t.Errorf("%+v", *e)
	}
}

// An answer that nobody has asked for is not taken for that of the next call,
// wherever it waits to be read.
func TestUnaskedAnswer(t *testing.T) {
	const success = "HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n" + `{"data":{"a":"success"}}`
	trusted := httptest.NewTLSServer(nil)
	defer trusted.Close()
	var calls atomic.Int32
	answers := func(conn net.Conn, out *holding) {
		in := bufio.NewReader(conn)
		for {
			request, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, request.Body)
			if calls.Add(1) > 1 {
				_, _ = io.WriteString(conn, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			out.hold = true
			_, _ = io.WriteString(conn, success)
			_, _ = io.WriteString(conn, success) // under TLS a record of its own
			out.flush()
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			calls.Store(0)
			go func() {
				for range 2 {
					raw, err := listener.Accept()
					if err != nil {
						return
					}
					go func() {
						defer func() { _ = raw.Close() }()
						out := &holding{Conn: raw}
						if scheme == "https" {
							answers(tls.Server(out, &tls.Config{Certificates: trusted.TLS.Certificates}), out)
						} else {
							answers(out, out)
						}
					}()
				}
			}()
			client := newClient(t, scheme+"://"+listener.Addr().String())
			client.wire.conns.tls = tlsConfig(trusted)
			if _, err := client.Send(t.Context(), usersCall("a")); err != nil {
				t.Fatal(err)
			}
			if e := wantError(t.Context(), t, client, usersCall("a")); e.Status != http.StatusServiceUnavailable {
				t.Errorf("%v", e)
			}
		})
	}
}

// holding is a connection that can keep what is written to it, to send it at once.
type holding struct {
	net.Conn
	hold bool
	kept []byte
}

func (h *holding) Write(p []byte) (int, error) {
	if !h.hold {
		return h.Conn.Write(p)
	}
	h.kept = append(h.kept, p...)
	return len(p), nil
}

func (h *holding) flush() {
	h.hold = false
	_, _ = h.Conn.Write(h.kept)
	h.kept = nil
}
