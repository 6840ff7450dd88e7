package test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"crier/internal/chatsim"
)

// entry is a row of docs/logs.md: what may be written under a message.
type entry struct{ levels, fields []string }

var (
	logRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ((?:(?:debug|info|warn|error)(?:, )?)+) \\|([^|]*)\\|")
	quoted = regexp.MustCompile("`([^`]+)`")
)

// documented reads the tables of messages.
func documented(t *testing.T) map[string]entry {
	t.Helper()
	text, err := os.ReadFile("../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string]entry{}
	for _, row := range logRow.FindAllStringSubmatch(string(text), -1) {
		m := entry{levels: strings.Split(row[2], ", ")}
		for _, field := range quoted.FindAllStringSubmatch(row[3], -1) {
			m.fields = append(m.fields, field[1])
		}
		if _, twice := messages[row[1]]; twice {
			t.Errorf("docs/logs.md lists %q twice", row[1])
		}
		messages[row[1]] = m
	}
	return messages
}

// statement is a call in the code that writes a line.
type statement struct {
	place, message string
	level          string // "" = decided when it runs
	fields         []string
	open           bool // more fields are decided elsewhere
}

// statements finds what programs that keep a log may write.
func statements(t *testing.T) (all []statement) {
	t.Helper()
	constants := map[string]string{} // texts by name: names are not so many that one stands for two
	var calls []*ast.CallExpr
	files := token.NewFileSet()
	for _, folder := range []string{"../cmd/worker", "../cmd/enqueue", "../internal/gateway", "../internal/tasks", "../internal/redisconn", "../internal/settings"} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch x := n.(type) {
				case *ast.CallExpr:
					calls = append(calls, x)
				case *ast.ValueSpec:
					if len(x.Values) == 1 && literal(x.Values[0]) != "" {
						constants[x.Names[0].Name] = literal(x.Values[0])
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, call := range calls {
		if s, ok := readStatement(call, constants); ok {
			s.place = files.Position(call.Pos()).String()
			all = append(all, s)
		}
	}
	return all
}

// readStatement reads log.Info("message", "field", value, ...) and the like.
func readStatement(call *ast.CallExpr, constants map[string]string) (s statement, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return s, false
	}
	on := ""
	switch x := method.X.(type) {
	case *ast.Ident:
		on = x.Name
	case *ast.SelectorExpr:
		on = x.Sel.Name
	}
	if !slices.Contains([]string{"log", "Log", "logger"}, on) {
		return s, false
	}
	args := call.Args
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		s.level = strings.ToLower(method.Sel.Name)
	case "Log", "LogAttrs":
		args = args[min(2, len(args)):] // behind the context and the level
	default:
		return s, false
	}
	if len(args) == 0 {
		return s, false
	}
	switch x := args[0].(type) {
	case *ast.BasicLit:
		s.message = literal(x)
	case *ast.Ident:
		s.message = constants[x.Name]
	case *ast.SelectorExpr:
		s.message = constants[x.Sel.Name]
	}
	s.open = call.Ellipsis.IsValid()
	fields := args[1:]
	if s.open {
		fields = nil
	}
	for i, arg := range fields {
		switch x := arg.(type) {
		case *ast.CallExpr: // slog.Int("field", value)
			if method.Sel.Name == "LogAttrs" && len(x.Args) > 0 {
				s.fields = append(s.fields, literal(x.Args[0]))
			}
		case *ast.CompositeLit: // slog.Attr{Key: "field", ...}
			if field, ok := x.Elts[0].(*ast.KeyValueExpr); ok {
				s.fields = append(s.fields, literal(field.Value))
			}
		case *ast.BasicLit:
			if i%2 == 0 {
				s.fields = append(s.fields, literal(x))
			}
		}
	}
	return s, true
}

func literal(x ast.Expr) string {
	lit, ok := x.(*ast.BasicLit)
	if !ok {
		return ""
	}
	text, _ := strconv.Unquote(lit.Value) // "" where it is no text
	return text
}

// docs/logs.md lists the messages of the code, and what the code does not say any more it does not list.
func TestLogsAreDocumented(t *testing.T) {
	t.Parallel()
	docs := documented(t)
	said := map[string]entry{}
	for _, s := range statements(t) {
		if s.message == "" {
			t.Errorf("%s: a message that changes cannot be looked for", s.place)
			continue
		}
		doc, ok := docs[s.message]
		if !ok {
			t.Errorf("%s: docs/logs.md does not list %q %v", s.place, s.message, s.fields)
			continue
		}
		if s.level != "" && !slices.Contains(doc.levels, s.level) {
			t.Errorf("%s: %q is written at level %s, docs/logs.md says %v", s.place, s.message, s.level, doc.levels)
		}
		for _, field := range s.fields {
			if !slices.Contains(doc.fields, field) {
				t.Errorf("%s: docs/logs.md does not list the field %q of %q", s.place, field, s.message)
			}
		}
		m := said[s.message]
		m.fields = append(m.fields, s.fields...)
		if s.open {
			m.fields = append(m.fields, doc.fields...)
		}
		said[s.message] = m
	}
	for text, doc := range docs {
		m, ok := said[text]
		if !ok {
			t.Errorf("docs/logs.md lists %q, which nobody says", text)
			continue
		}
		for _, field := range doc.fields {
			if field != "job" && !slices.Contains(m.fields, field) { // a logger of a job has that from the beginning
				t.Errorf("docs/logs.md lists the field %q of %q, which it never has", field, text)
			}
		}
	}
}

// line is a line of a log.
type line map[string]any

// logLines reads a log and holds each line against docs/logs.md.
func logLines(t *testing.T, program, text string) (lines []line) {
	t.Helper()
	docs := documented(t)
	for row := range strings.Lines(text) {
		var l line
		if err := json.Unmarshal([]byte(row), &l); err != nil {
			t.Errorf("%s: %v in %q", program, err, row)
			continue
		}
		doc, ok := docs[fmt.Sprint(l["msg"])]
		level := strings.ToLower(fmt.Sprint(l["level"]))
		if !ok || !slices.Contains(doc.levels, level) {
			t.Errorf("%s: the message or its level is not documented: %s", program, row)
		}
		for field := range l {
			if !slices.Contains([]string{"time", "level", "msg"}, field) && !slices.Contains(doc.fields, field) {
				t.Errorf("%s: the field %q is not documented: %s", program, field, row)
			}
		}
		if n := strings.Count(row, `"job":`); n > 1 {
			t.Errorf("%s: a field stands twice: %s", program, row)
		}
		lines = append(lines, l)
	}
	return lines
}

// about are the lines with such a message about a job.
func about(lines []line, job, msg string) (found []line) {
	for _, l := range lines {
		if l["job"] == job && l["msg"] == msg {
			found = append(found, l)
		}
	}
	return found
}

// A campaign under faults, from the request to the end: every line is documented,
// the job's id leads through all of them, the lines of calls add up to the books, and
// none tells a secret.
func TestLogsTellACampaign(t *testing.T) {
	t.Parallel()
	const text, key = "your code is 771177", "key-of-a-backend-000"
	w := newWorld(t, quota(t, "users=20/s,2000t/s"), func(c *chatsim.Config) {
		c.MaxUsers, c.Latency = 100, 20*time.Millisecond
		c.Faults = []chatsim.Fault{
			{Kind: chatsim.FaultUnavailable, Percent: 10}, {Kind: chatsim.FaultReset, Percent: 5}, {Kind: chatsim.FaultThrottle, Percent: 5}, {Kind: chatsim.FaultHTML, Percent: 5},
		}
	}).with("LOG_LEVEL=debug", "LOG_FORMAT=json", "CHAT_MAX_USERS=100", "CHAT_QUOTA=users=100/s", "ENQUEUE_API_KEYS="+key)
	workers := []*process{w.worker(), w.worker()}
	g := w.serve()
	g.key = key
	job := func(id, targets, options string) {
		g.wants(202, http.MethodPost, "/v1/jobs", `{"id":"`+id+`","target_type":"users","target":`+targets+`,"msg":{"type":"txt","msg":"`+text+`"},"options":`+options+`}`)
	}
	job("campaign", encode(t, names(5000)), `{}`)
	job("code", `["u1"]`, `{"priority":"urgent"}`)
	w.send("--id", "by-command", "--target", "u2", "--text", text, "--send-at", time.Now().Add(time.Hour).Format(time.RFC3339))
	g.wants(200, http.MethodPost, "/v1/jobs/by-command/cancel", "")
	books := w.wait("campaign", 0)
	w.wait("code", 0)
	for _, job := range []string{"campaign", "code", "by-command"} {
		eventually(t, "its end is told: "+job, func() bool {
			return strings.Contains(workers[0].err.String()+workers[1].err.String(), `"msg":"job ended","job":"`+job+`"`)
		})
	}
	for _, p := range append(workers, g.process) {
		w.stop(p)
	}

	var lines, ofGateway []line
	all := ""
	for _, p := range workers {
		lines = append(lines, logLines(t, "worker", p.err.String())...)
		all += p.err.String()
	}
	ofGateway = logLines(t, "gateway", g.process.err.String())
	all += g.process.err.String()
	for _, secret := range []string{text, "771177", key, chatsim.DefaultConfig().Token} {
		if strings.Contains(all, secret) {
			t.Errorf("a line has %q", secret)
		}
	}

	calls, sent := 0, 0.0
	for _, l := range about(lines, "campaign", "call") {
		if l["bytes"] != 0.0 {
			calls++
		}
		if l["result"] == "sent" {
			sent += l["targets"].(float64)
		}
		for _, field := range []string{"segment", "target_type", "priority", "targets", "bytes", "result", "status", "ms", "wait_ms", "attempts", "resent", "probe", "retry_in"} {
			if _, ok := l[field]; !ok {
				t.Errorf("a call without %s: %v", field, l)
			}
		}
		if (l["error"] == nil) != (l["status"] == 200.0) {
			t.Errorf("status and error: %v", l)
		}
	}
	if calls != books.Calls || int(sent) != books.Sent {
		t.Errorf("lines tell of %d calls and %v targets sent, the books of %+v", calls, sent, books)
	}
	for _, job := range []string{"campaign", "code"} {
		if n := len(about(ofGateway, job, "job accepted")); n != 1 {
			t.Errorf("%s is accepted %d times", job, n)
		}
		if n := len(about(lines, job, "job started")); n != 1 {
			t.Errorf("%s starts %d times", job, n)
		}
	}
	for job, state := range map[string]string{"campaign": "finished", "code": "finished", "by-command": "cancelled"} {
		ends := about(lines, job, "job ended")
		if len(ends) != 1 || ends[0]["state"] != state {
			t.Errorf("%s ends %d times: %v", job, len(ends), ends)
		}
		if len(about(ofGateway, job, "request")) == 0 {
			t.Errorf("no request is told to be about %s", job)
		}
	}
	if end := about(lines, "campaign", "job ended")[0]; end["calls"] != float64(books.Calls) || end["total"] != 5000.0 || end["sent"] != 5000.0 {
		t.Errorf("the campaign's end: %v", end)
	}
	if len(about(ofGateway, "by-command", "job changed")) != 1 {
		t.Error("that a job was cancelled is not told once")
	}
}

// However a job ends, one worker says so, once, and counts it.
func TestEachEndIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.Latency = 700 * time.Millisecond })
	// Without a worker.
	w.send("--id", "before", "--target", "u0", "--text", "hello")
	w.succeed("cancel", "before")
	workers := []*process{w.worker(), w.worker()}
	w.send("--id", "sent", "--targets", listFile(t, names(30)...), "--text", "hello", "--wait")
	// Its last call is in flight when it is cancelled, and is recorded behind that.
	w.send("--id", "late-answer", "--target", "u1", "--text", "hello")
	eventually(t, "its call is in flight", func() bool { return w.sim.Stats().InFlight == 1 })
	w.succeed("cancel", "late-answer")
	// The same, and some are left.
	w.send("--id", "cancelled", "--targets", listFile(t, names(3000)...), "--text", "hello", "--max-rate", "1")
	eventually(t, "a call is in flight", func() bool { return w.sim.Stats().InFlight == 1 })
	w.succeed("cancel", "cancelled")
	w.send("--id", "expired", "--targets", listFile(t, names(3000)...), "--text", "hello", "--max-rate", "1",
		"--expires-at", time.Now().Add(1500*time.Millisecond).Format(time.RFC3339Nano))
	want := map[string]string{
		"before": "cancelled", "sent": "finished", "late-answer": "cancelled", "cancelled": "cancelled", "expired": "finished",
	}
	text := func() string { return workers[0].err.String() + workers[1].err.String() }
	for job := range want {
		eventually(t, "its end is told: "+job, func() bool { return strings.Contains(text(), `"msg":"job ended","job":"`+job+`"`) })
	}
	if s := w.status("late-answer"); s.Sent != 1 || s.Cancelled != 0 {
		t.Fatalf("no late answer: %+v", s)
	}
	observed, cancelled := 0.0, 0.0
	for _, p := range workers {
		families := scrape(t, p.admin(t))
		for _, m := range families["crier_job_duration_seconds"].GetMetric() {
			observed += float64(m.GetHistogram().GetSampleCount())
		}
		cancelled += sum(families["crier_targets_total"], "outcome=cancelled")
	}
	told := 0
	for job := range want {
		told += w.status(job).Cancelled
	}
	if int(observed) != len(want) || int(cancelled) != told {
		t.Errorf("%v jobs and %v cancelled targets are counted, there were %d and %d", observed, cancelled, len(want), told)
	}
	for _, p := range workers {
		w.stop(p)
	}
	lines := logLines(t, "worker", text())
	for job, state := range want {
		if ends := about(lines, job, "job ended"); len(ends) != 1 || ends[0]["state"] != state {
			t.Errorf("%s ends %d times: %v", job, len(ends), ends)
		}
	}
}
