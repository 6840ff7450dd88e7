package chatsim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	unifiedPath = "/chat-demo/testapp/messages"
	hello       = `{"target_type":"users","target":["u1","u2"],"msg":{"type":"txt","msg":"hello"},"from":"admin"}`
)

// newSim is a simulator with the default configuration, changed by change.
func newSim(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// reply is an answer as a client sees it.
type reply struct {
	Status int
	Header http.Header
	Text   string

	Error       string            `json:"error"`
	Exception   string            `json:"exception"`
	Description string            `json:"error_description"`
	Code        int               `json:"error_code"`
	Data        map[string]string `json:"data"`
	Token       string            `json:"access_token"`
	ExpiresIn   int64             `json:"expires_in"`
	Entities    []struct {
		UUID   string `json:"uuid"`
		Secret string `json:"share-secret"`
	} `json:"entities"`
}

// call sends body without a network; edit may change the request before.
func (s *Server) call(t testing.TB, path, body string, edit ...func(*http.Request)) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer demo-token")
	for _, change := range edit {
		change(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	got := reply{Status: w.Code, Header: w.Header(), Text: w.Body.String()}
	if strings.HasPrefix(got.Text, "{") {
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("answer %q: %v", got.Text, err)
		}
	}
	return got
}

// bearer authorizes a request with another token.
func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// message is a unified text message to these targets.
func message(targetType TargetType, targets ...string) string {
	list, _ := json.Marshal(targets)
	return fmt.Sprintf(`{"target_type":%q,"target":%s,"msg":{"type":"txt","msg":"hello"}}`, targetType, list)
}

// manyNames are n names of 16 bytes.
func manyNames(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%0*d", prefix, 15-len(prefix), i)
	}
	return names
}
