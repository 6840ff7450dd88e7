package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// desk stands before the simulated API and notes what goes on at its token
// endpoint.
type desk struct {
	api http.Handler

	mu      sync.Mutex
	came    []time.Time // requests for a token,
	left    []time.Time // and their answers
	answers strings.Builder
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/token") {
		d.api.ServeHTTP(w, r)
		return
	}
	came := time.Now()
	answer := httptest.NewRecorder()
	d.api.ServeHTTP(answer, r)
	d.mu.Lock()
	d.came, d.left = append(d.came, came), append(d.left, time.Now())
	d.answers.Write(answer.Body.Bytes())
	d.mu.Unlock()
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // a client that is gone
}

// fetches is how often a token was asked for. There are 2 s at least between two.
func (d *desk) fetches(t *testing.T) int {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := 1; i < len(d.came); i++ {
		if pause := d.came[i].Sub(d.left[i-1]); pause < 2*time.Second {
			t.Errorf("token %d was asked for %v after the one before", i+1, pause)
		}
	}
	return len(d.came)
}

// secrets are all that nobody is to read anywhere: client secrets, and the
// tokens that were given out.
func (d *desk) secrets() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []string{rightSecret, wrongSecret}
	for part := range strings.SplitSeq(d.answers.String(), `"access_token":"`) {
		if token, _, found := strings.Cut(part, `"`); found && strings.HasPrefix(token, "YWMt") {
			list = append(list, token)
		}
	}
	return list
}

const rightSecret, wrongSecret = "YXA6-right-secret-0123456789", "YXA6-wrong-secret-0123456789"

// newTokenWorld is an installation whose workers fetch their tokens. Whatever
// is said to its Redis is held against its secrets at the end.
func newTokenWorld(t *testing.T, changes ...func(*chatsim.Config)) (*world, *desk) {
	t.Helper()
	changes = append([]func(*chatsim.Config){func(c *chatsim.Config) { c.ClientSecret = rightSecret }}, changes...)
	w := newWorld(t, changes...)
	d := &desk{api: w.sim}
	front := httptest.NewServer(d)
	t.Cleanup(front.Close)
	heard := listenToRedis(t, w)
	t.Cleanup(func() {
		text := heard()
		for _, secret := range d.secrets() {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("Redis was told a secret: %.300q", text[max(0, at-150):])
			}
		}
	})
	return w.with("CHAT_URL="+front.URL, "CHAT_TOKEN=", "CHAT_CLIENT_ID=demo-client", "CHAT_CLIENT_SECRET="+rightSecret, "LOG_LEVEL=debug"), d
}

// listenToRedis hears every command that the server gets, and so all that is
// ever stored there. An embedded server has no ears.
func listenToRedis(t *testing.T, w *world) (heard func() string) {
	t.Helper()
	if !w.redis.Real {
		return func() string { return "" }
	}
	conn, err := net.Dial("tcp", w.redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(conn) // until it is closed
		text <- string(all)
	}()
	return func() string {
		_ = conn.Close() // ends the reading
		all := <-text
		if !strings.Contains(all, "{token}:value") {
			t.Error("nothing was heard of a shared token: this test has tested nothing")
		}
		return all
	}
}

// checkQuiet looks for secrets in what workers have written.
func (d *desk) checkQuiet(t *testing.T, workers ...*process) {
	t.Helper()
	var text strings.Builder
	for _, p := range workers {
		text.WriteString(p.out.String() + p.err.String())
	}
	for _, secret := range d.secrets() {
		if at := strings.Index(text.String(), secret); at >= 0 {
			t.Errorf("a secret is in the log: %.300q", text.String()[max(0, at-150):])
		}
	}
	if !strings.Contains(text.String(), `"level":"DEBUG"`) {
		t.Error("nothing was logged at debug level: this test has tested nothing")
	}
}

// blocked waits until a job stands still for want of a token.
func (w *world) blocked(id string) {
	w.t.Helper()
	eventually(w.t, "the status says that no token is accepted", func() bool {
		doc := decode[object](w.t, w.succeed("status", id, "--json"))
		return doc["blocked"] == "unauthorized"
	})
	if s := w.status(id); s.State != "running" || s.Pending != s.Total {
		w.t.Errorf("%+v", s)
	}
}

// Tokens die early, again and again: the fleet fetches each of them once, and
// nobody loses an attempt by it.
func TestShortLivedTokens(t *testing.T) {
	t.Parallel()
	const calls, perToken, perCall = 160, 40, 25
	w, desk := newTokenWorld(t, func(c *chatsim.Config) { c.TokenCalls = perToken })
	w = w.with(fmt.Sprint("CHAT_MAX_USERS=", perCall), "MAX_ATTEMPTS=1")
	workers := []*process{w.worker(), w.worker()}
	list := names(calls * perCall)
	var jobs []string // so that both workers find something to do
	for part := range slices.Chunk(list, len(list)/4) {
		jobs = append(jobs, w.send("--targets", listFile(t, part...), "--text", "hello"))
	}
	for _, id := range jobs {
		if diff := cmp.Diff(tally{Sent: len(list) / 4, Reasons: map[string]int{}}, w.tally(id, 0)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(once(list...), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
	fewest := (int(w.sim.Stats().AcceptedCalls) + perToken - 1) / perToken
	if n := desk.fetches(t); n > 3*fewest {
		t.Errorf("%d tokens were fetched for what %d could do", n, fewest)
	}
	eventually(t, "the workers' metrics tell of each fetch", func() bool {
		told := 0.0
		for _, p := range workers {
			told += sum(scrape(t, p.admin(t))["crier_token_refreshes_total"], "result=ok")
		}
		return told == float64(desk.fetches(t))
	})
	desk.checkQuiet(t, workers...)
}

// A worker that starts takes the token that others have.
func TestTokenOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	w, desk := newTokenWorld(t)
	for range 3 {
		p := w.worker()
		w.send("--target", "u1", "--text", "hello", "--wait")
		w.stop(p)
		desk.checkQuiet(t, p)
	}
	if n := desk.fetches(t); n != 1 {
		t.Errorf("%d tokens were fetched", n)
	}
	w.sim.SetSecrets(chatsim.Secrets{ClientID: "demo-client", ClientSecret: rightSecret}, true) // all tokens are dead
	w.worker()
	w.send("--target", "u1", "--text", "hello", "--wait")
	if n := desk.fetches(t); n != 2 {
		t.Errorf("%d tokens were fetched when the shared one was dead", n)
	}
}

// A wrong client secret holds the work and fails nobody. Put right, wherever
// that is, work goes on by itself.
func TestWrongClientSecret(t *testing.T) {
	t.Parallel()
	list := names(50)
	wrongAtTheAPI := func(c *chatsim.Config) { c.ClientSecret = wrongSecret }
	finish := func(t *testing.T, w *world, d *desk, id string, workers ...*process) {
		t.Helper()
		if diff := cmp.Diff(tally{Sent: 50, Reasons: map[string]int{}}, w.tally(id, 0)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if calls, made := w.status(id).Calls, w.sim.Stats().Calls; int64(calls) > made {
			t.Errorf("the job counts %d calls, but %d were made", calls, made)
		}
		for name, r := range w.rows(id) {
			if r.Attempts != 1 {
				t.Errorf("%s took %d attempts", name, r.Attempts)
			}
		}
		d.fetches(t)
		d.checkQuiet(t, workers...)
	}
	t.Run("put right by the vendor", func(t *testing.T) {
		t.Parallel()
		w, desk := newTokenWorld(t, wrongAtTheAPI)
		w = w.with("CHAT_MAX_USERS=5", "MAX_ATTEMPTS=1")
		workers := []*process{w.worker(), w.worker()}
		id := w.send("--targets", listFile(t, list...), "--text", "hello")
		w.blocked(id)
		w.sim.SetSecrets(chatsim.Secrets{ClientID: "demo-client", ClientSecret: rightSecret}, false)
		finish(t, w, desk, id, workers...)
	})
	t.Run("put right by a new worker", func(t *testing.T) {
		t.Parallel()
		w, desk := newTokenWorld(t)
		w = w.with("CHAT_MAX_USERS=5", "MAX_ATTEMPTS=1")
		wrong := w.with("CHAT_CLIENT_SECRET=" + wrongSecret).worker()
		id := w.send("--targets", listFile(t, list...), "--text", "hello")
		w.blocked(id)
		w.stop(wrong)
		// As if it had gone on for long: the next probe is far away.
		w.redis.Client().HSet(t.Context(), "crier:{gate:users}:state", "until", time.Now().Add(time.Hour).UnixMicro())
		finish(t, w, desk, id, wrong, w.worker())
	})
	t.Run("put right in its file", func(t *testing.T) {
		t.Parallel()
		w, desk := newTokenWorld(t)
		file := filepath.Join(t.TempDir(), "secret")
		write := func(secret string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(wrongSecret)
		w = w.with("CHAT_MAX_USERS=5", "MAX_ATTEMPTS=1", "CHAT_CLIENT_SECRET=", "CHAT_CLIENT_SECRET_FILE="+file)
		p := w.worker()
		id := w.send("--targets", listFile(t, list...), "--text", "hello")
		w.blocked(id)
		write(rightSecret)
		finish(t, w, desk, id, p)

		// Rotated, and what was fetched with the old one revoked.
		w.sim.SetSecrets(chatsim.Secrets{ClientID: "demo-client", ClientSecret: wrongSecret}, true)
		write(wrongSecret)
		finish(t, w, desk, w.send("--targets", listFile(t, list...), "--text", "again"), p)
	})
	t.Run("a token in a file", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(wrongSecret), 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t).with("CHAT_TOKEN=", "CHAT_TOKEN_FILE="+file, "LOG_LEVEL=debug")
		p := w.worker()
		id := w.send("--targets", listFile(t, list...), "--text", "hello")
		w.blocked(id)
		if err := os.WriteFile(file, []byte(chatsim.DefaultConfig().Token), 0o600); err != nil {
			t.Fatal(err)
		}
		finish(t, w, new(desk), id, p)
	})
}
