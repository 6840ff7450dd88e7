package test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// exampleKey is what the gateway asks the examples for.
const exampleKey = "k3y-of-the-examples"

// gatewayForExamples serves the installation over HTTP and returns its URL.
func (w *world) gatewayForExamples() string {
	w.t.Helper()
	return w.with("ENQUEUE_API_KEYS=" + exampleKey).serve().url
}

// badLine is a way to the gateway on which everything goes wrong at first: of each
// method and path the first request is answered with 503, and of the second, which
// is carried out, the answer is lost.
func badLine(t *testing.T, gateway string) (address string, requests func() map[string]int) {
	t.Helper()
	to, err := url.Parse(gateway)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]int{}
	through := httputil.NewSingleHostReverseProxy(to)
	through.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	line := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := r.Method + " " + r.URL.Path
		mu.Lock()
		seen[what]++
		nth := seen[what]
		mu.Unlock()
		switch nth {
		case 1:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "Redis is nearly full", http.StatusServiceUnavailable)
		case 2:
			through.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			through.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(line.Close)
	return line.URL, func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

// example is a program of the examples, called as its users do.
type example struct {
	name    string
	program string // that it needs
	code    func(id, user, text string) []string
	list    func(id, file, text string) []string
	lists   string // what its list ends in
	summary bool   // it waits for the end, and tells it
}

func examples(t *testing.T) []example {
	t.Helper()
	folder, err := filepath.Abs("../examples")
	if err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(t.TempDir(), "example")
	if text, err := exec.Command("go", "build", "-o", built, "crier/examples/go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	script := func(words ...string) func(a, b, c string) []string {
		return func(a, b, c string) []string { return append(append([]string{}, words...), a, b, c) }
	}
	python, curl := filepath.Join(folder, "python", "crier.py"), filepath.Join(folder, "curl")
	return []example{
		{
			name: "curl", program: "curl", lists: ".csv.gz", summary: true,
			code: script(filepath.Join(curl, "one-time-code.sh")), list: script(filepath.Join(curl, "campaign.sh")),
		},
		{name: "go", program: built, lists: ".txt", code: script(built, "code"), list: script(built, "campaign")},
		{name: "python", program: "python3", lists: ".txt", code: script("python3", python, "code"), list: script("python3", python, "campaign")},
	}
}

// needs skips a test for want of a program, or fails it where there must be one.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v, and CI=true", err)
		}
		t.Skipf("no %s in PATH", program)
	}
}

// runExample runs it to its end against the gateway at address.
func runExample(t *testing.T, address, key string, args []string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "CRIER_URL="+address, "CRIER_API_KEY="+key, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1", "TMPDIR="+t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	endWithParent(cmd)
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// writeList writes names to a file, as CSV or text, packed if its name says so.
func writeList(t *testing.T, ending string, names []string) string {
	t.Helper()
	text := strings.Join(names, "\n") + "\n"
	if strings.HasPrefix(ending, ".csv") {
		text = "username\n" + text
	}
	var content bytes.Buffer
	if strings.HasSuffix(ending, ".gz") {
		packed := gzip.NewWriter(&content)
		_, _ = packed.Write([]byte(text)) // into memory
		_ = packed.Close()
	} else {
		content.WriteString(text)
	}
	file := filepath.Join(t.TempDir(), "a list, [1-9]"+ending)
	if err := os.WriteFile(file, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The examples of the HTTP gateway send what they say, once, over a line on which
// requests are refused and answers lost; run again they change nothing; and what the
// gateway refuses ends them at once.
func TestHTTPExamples(t *testing.T) {
	t.Parallel()
	for _, e := range examples(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			needs(t, e.program)
			w := newWorld(t)
			w.worker()
			gateway := w.gatewayForExamples()
			address, requests := badLine(t, gateway)
			names := make([]string, 3000)
			for i := range names {
				names[i] = fmt.Sprintf("name%d", i)
			}
			list := writeList(t, e.lists, names)

			const code = `Your "code" \ is 123456`
			for range 2 {
				if got := runExample(t, address, exampleKey, e.code("login-4711", "u1", code)); got.code != 0 || got.out != "login-4711\n" {
					t.Errorf("a code: %+v", got)
				}
			}
			w.wait("login-4711", 0)
			if got := w.sim.Messages(); len(got) != 1 || !strings.Contains(string(got[0].Msg), `Your \"code\" \\ is 123456`) {
				t.Errorf("sent: %+v", got)
			}
			for range 2 {
				got := runExample(t, address, exampleKey, e.list("spring-sale", list, "20 % off"))
				if got.code != 0 || !e.summary && got.out != "spring-sale\n" || e.summary && got.out != "" {
					t.Errorf("a list: %+v", got)
				}
			}
			w.wait("spring-sale", 0)
			if diff := cmp.Diff(once(append(names, "u1")...), w.journal(chatsim.Users)); diff != "" {
				t.Errorf("delivered (-want +got):\n%s", diff)
			}
			for what, n := range requests() {
				if strings.HasPrefix(what, "POST ") && n < 3 {
					t.Errorf("%s was made %d times, so it was not repeated", what, n)
				}
			}
			e.refused(t, gateway, list)

			w.succeed("cancel", "winter-sale") // which was left without its list
			if got := runExample(t, gateway, exampleKey, e.list("winter-sale", list, "text")); got.code == 0 {
				t.Errorf("a job that was cancelled: %+v", got)
			}
		})
	}
}

// refused tries what the gateway has something against.
func (e example) refused(t *testing.T, gateway, list string) {
	t.Helper()
	for _, c := range []struct {
		key  string
		args []string
		says string
	}{
		{exampleKey, e.code("login-4711", "u1", "another code"), "other content"},
		{exampleKey, e.list("spring-sale", list, "another text"), "other content"},
		{exampleKey, e.code("login-4712", "not a name", "text"), "target[0]"},
		{exampleKey, e.list("autumn-sale", writeList(t, e.lists, []string{"u1", "not a name"}), "text"), "line "},
		{exampleKey, e.list("winter-sale", list+"-that-is-not-there", "text"), "not-there"},
		{"wrong", e.code("login-4713", "u1", "text"), "401"},
	} {
		got := runExample(t, gateway, c.key, c.args)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, c.says) || strings.Contains(got.err, c.key) {
			t.Errorf("%q: %+v", c.args, got)
		}
	}
}

// A campaign that does not reach everybody says whom.
func TestHTTPExampleTellsWhoWasNotReached(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	w := newWorld(t, func(c *chatsim.Config) { c.Refused = []string{"bad"} })
	w.worker()
	list := writeList(t, ".txt", []string{"u1", "bad", "u2"})
	got := runExample(t, w.gatewayForExamples(), exampleKey, []string{"../examples/curl/campaign.sh", "sale", list, "20 % off"})
	rows := strings.Split(strings.TrimSpace(got.out), "\n")
	if got.code != 3 || len(rows) != 2 || !strings.HasPrefix(rows[1], "bad,failed,") {
		t.Errorf("%+v", got)
	}
}

// A picture is uploaded once and sent once, whatever it is called.
func TestHTTPExampleSendsAPicture(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	w := newWorld(t)
	w.worker()
	address, _ := badLine(t, w.gatewayForExamples())
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 30, 20))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), `a "picture", [1]\2;.png`)
	if err := os.WriteFile(file, picture.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := runExample(t, address, exampleKey, []string{"../examples/curl/picture.sh", "summer-1", "u1", file})
		if got.code != 0 || got.out != "summer-1\n" {
			t.Errorf("%+v", got)
		}
	}
	w.wait("summer-1", 0)
	files, messages := w.sim.Files(), w.sim.Messages()
	if len(files) != 1 || len(messages) != 1 {
		t.Fatalf("%d files, %d messages", len(files), len(messages))
	}
	msg := decode[object](t, string(messages[0].Msg))
	if size := (object{"width": 30.0, "height": 20.0}); cmp.Diff(size, msg["size"]) != "" || msg["type"] != "img" {
		t.Errorf("sent: %v", msg)
	}
}
