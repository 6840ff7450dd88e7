package chatsim

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// control calls /_sim/ and checks the status.
func (s *Server) steer(t *testing.T, method, name, body string, status int) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/_sim/"+name, strings.NewReader(body)))
	if w.Code != status {
		t.Errorf("%s %s %q answered %d %s, want %d", method, name, body, w.Code, w.Body, status)
	}
	return w.Body.String()
}

func TestControlReads(t *testing.T) {
	s := newSim(t, nil)
	s.call(t, unifiedPath, hello)
	s.call(t, unifiedPath, message(Groups, "1001"))
	s.call(t, unifiedPath, message(Users, "u1"))

	var st Stats
	if err := json.Unmarshal([]byte(s.steer(t, "GET", "stats", "", 200)), &st); err != nil || st.AcceptedTargets != 4 || st.Accepted[Groups].Targets != 1 {
		t.Errorf("stats %+v, %v", st, err)
	}
	rows := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(s.steer(t, "GET", "journal", "", 200)))
	for lines.Scan() {
		rows[lines.Text()] = true
	}
	want := map[string]bool{
		`{"target_type":"users","target":"u1","count":2}`:        true,
		`{"target_type":"users","target":"u2","count":1}`:        true,
		`{"target_type":"chatgroups","target":"1001","count":1}`: true,
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	var messages []Message
	if err := json.Unmarshal([]byte(s.steer(t, "GET", "messages", "", 200)), &messages); err != nil || len(messages) != 3 || string(messages[0].LastBody) != hello {
		t.Errorf("messages %+v, %v", messages, err)
	}
}

func TestControlChanges(t *testing.T) {
	s := newSim(t, nil)
	status := func(want int) {
		t.Helper()
		if got := s.call(t, unifiedPath, hello); got.Status != want {
			t.Errorf("got %d %s, want %d", got.Status, got.Text, want)
		}
	}
	s.steer(t, "PUT", "faults", "throttle=100", 204)
	status(http.StatusTooManyRequests)
	s.steer(t, "PUT", "faults", `[{"kind":"unavailable","percent":100,"delay":"1ms","retry_after":"2s"}]`, 204)
	if got := s.call(t, unifiedPath, hello); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "2" {
		t.Errorf("got %d %v", got.Status, got.Header)
	}
	s.steer(t, "PUT", "faults", "", 204)
	status(http.StatusOK)
	s.steer(t, "PUT", "quota", "users=1t/h", 204)
	status(http.StatusForbidden)
	s.steer(t, "PUT", "quota", "", 204)
	status(http.StatusOK)
	s.steer(t, "PUT", "outage", "unavailable\n", 204)
	status(http.StatusServiceUnavailable)
	s.steer(t, "PUT", "outage", "off", 204)
	s.steer(t, "PUT", "secret", `{"token":"other"}`, 204)
	status(http.StatusUnauthorized)
	s.steer(t, "PUT", "secret", `{"token":"demo-token","client_secret":"new"}`, 204)
	status(http.StatusOK)
	if got := s.call(t, tokenURL, tokenRequest("new", "")); got.Status != http.StatusOK {
		t.Errorf("new secret: %d %s", got.Status, got.Text)
	}
	token := s.call(t, tokenURL, tokenRequest("new", "")).Token
	s.steer(t, "PUT", "secret", `{"revoke":true}`, 204)
	if got := s.call(t, unifiedPath, hello, bearer(token)); got.Status != http.StatusUnauthorized {
		t.Errorf("revoked token: %d", got.Status)
	}
	s.steer(t, "POST", "reset", "", 204)
	if st := s.Stats(); st.Calls != 0 {
		t.Errorf("after the reset: %+v", st)
	}
}

func TestControlMistakes(t *testing.T) {
	s := newSim(t, nil)
	for name, body := range map[string]string{
		"faults": `bogus=1`,
		"quota":  `users=1`,
		"outage": `partial`,
		"secret": `{"token":"hush`,
	} {
		if text := s.steer(t, "PUT", name, body, 400); strings.Contains(text, "hush") || len(text) < 10 {
			t.Errorf("%s: %q", name, text)
		}
	}
	s.steer(t, "PUT", "faults", `[{"kind":"throttle","percents":5}]`, 400)
	s.steer(t, "PUT", "faults", `[{"kind":"throttle","percent":5,"delay":"soon"}]`, 400)
	s.steer(t, "GET", "unknown", "", 404)
	s.steer(t, "DELETE", "journal", "", 405)
	if st := s.Stats(); len(st.Statuses) != 0 {
		t.Errorf("/_sim is counted: %v", st.Statuses)
	}
}
