package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestBadFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		want []string // each is a line's beginning or a part of it
	}{
		{
			"every value that does not fit",
			[]string{"--listen=0.0.0.0:8090", "--quota=users=x", "--faults=bogus=1", "--max-users=0", "--org=", "--client-id="},
			nil,
			[]string{`listen address "0.0.0.0:8090" is not a loopback address`, `quota: users: "x"`, `unknown kind "bogus"`, "max users", "org must be", "belong together"},
		},
		{
			"every value that cannot be read, and the rest",
			[]string{"--latency=soon", "--max-body=big", "--seed=x", "--max-rooms=0"},
			nil,
			[]string{"--latency: ", "--max-body: ", "--seed: ", "max rooms"},
		},
		{
			"variables", nil,
			map[string]string{"CHATSIM_JITTER": "x", "CHATSIM_LISTEN": ":0", "CHATSIM_MAX_BODY": ""},
			[]string{"--jitter: ", `":0" is not a loopback address`},
		},
		{"unknown flag", []string{"--bogus"}, nil, []string{"unknown flag --bogus"}},
		{"argument", []string{"now"}, nil, []string{"unexpected argument now"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			var stdout, stderr bytes.Buffer
			if code := run(tt.args, &stdout, &stderr); code != exitUsage {
				t.Errorf("exit %d, want %d", code, exitUsage)
			}
			for _, part := range tt.want {
				if !strings.Contains(stderr.String(), part) {
					t.Errorf("%s is missing in:\n%s", part, &stderr)
				}
			}
			if n := strings.Count(stderr.String(), "\n"); n != len(tt.want) {
				t.Errorf("%d lines, want %d:\n%s", n, len(tt.want), &stderr)
			}
			if stdout.Len() != 0 {
				t.Errorf("standard output: %s", &stdout)
			}
		})
	}
}

func TestAnyAddress(t *testing.T) {
	for _, args := range [][]string{{"--listen=0.0.0.0:8090", "--any-address"}, {"--listen=:8090", "--any-address"}} {
		cfg, _, _, err := parse(args, io.Discard, io.Discard)
		if err != nil || !cfg.AnyAddress {
			t.Errorf("%q: %t, %v", args, cfg.AnyAddress, err)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	var help, version, stderr bytes.Buffer
	if code := run([]string{"--help"}, &help, &stderr); code != exitDone {
		t.Errorf("--help: exit %d", code)
	}
	for _, part := range []string{"--quota", "$CHATSIM_QUOTA", `--listen="127.0.0.1:8090"`, "--max-body=5120"} {
		if !strings.Contains(help.String(), part) {
			t.Errorf("%s is missing in the help:\n%s", part, &help)
		}
	}
	if code := run([]string{"--version"}, &version, &stderr); code != exitDone || !regexp.MustCompile(`^\S+ \(go1\S+.*\)\n$`).MatchString(version.String()) {
		t.Errorf("--version: exit %d, %q", code, &version)
	}
	if stderr.Len() != 0 {
		t.Errorf("standard error: %s", &stderr)
	}
}

// TestTheProgram builds it and uses it from outside.
func TestTheProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "chatsim")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	program := exec.CommandContext(t.Context(), binary, "--listen=127.0.0.1:0", "--token=t0", "--max-users=2", "--max-file=5", "--poison=devil,demon", "--faults=slow=100:delay=1ms", "--quota=chatgroups=1/h")
	program.Env = append(os.Environ(), "CHATSIM_APP=shop", "CHATSIM_ORG=acme")
	var stderr bytes.Buffer
	program.Stderr = &stderr
	stdout, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !regexp.MustCompile(`^http://127\.0\.0\.1:\d+\n$`).MatchString(url) {
		t.Fatalf("first line %q: %v", url, err)
	}
	url = strings.TrimSpace(url)

	for _, tt := range []struct {
		targets string
		status  int
		part    string
	}{
		{`["u1","u2"]`, 200, `"u1":"success"`},
		{`["u1","u2","u3"]`, 400, "limit 2"},
		{`["demon"]`, 400, "illegal target: demon"},
	} {
		status, text := do(t, http.MethodPost, url+"/acme/shop/messages", `{"target_type":"users","target":`+tt.targets+`,"msg":{"type":"txt","msg":"x"}}`)
		if status != tt.status || !strings.Contains(text, tt.part) {
			t.Errorf("%s: got %d %s", tt.targets, status, text)
		}
	}
	if status, text := do(t, http.MethodGet, url+"/_sim/journal", ""); status != 200 || strings.Count(text, "\n") != 2 {
		t.Errorf("journal: %d %s", status, text)
	}

	for _, content := range []string{"12345", "123456"} {
		status, text := upload(t, url+"/acme/shop/chatfiles", content)
		if want := map[string]int{"12345": 200, "123456": 413}[content]; status != want {
			t.Errorf("%s: got %d %s", content, status, text)
		}
	}

	// The port is taken now: a second one cannot start.
	var second bytes.Buffer
	if code := run([]string{"--listen=" + strings.TrimPrefix(url, "http://")}, io.Discard, &second); code != exitFailed || second.Len() == 0 {
		t.Errorf("on a taken port: exit %d, %s", code, &second)
	}

	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	want := "chatsim: 3 calls, 1 accepted with 2 targets, answers 200:2 400:2 413:1, 0 unanswered, 2 faults, 0 token calls, 1 uploads\n"
	if stderr.String() != want {
		t.Errorf("summary %q, want %q", stderr.String(), want)
	}
}

// do makes one call with a JSON body and gives back status and body.
func do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	return send(t, method, url, "application/json", body)
}

func send(t *testing.T, method, url, contentType, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Authorization", "Bearer t0")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// upload sends one file and gives back status and body.
func upload(t *testing.T, url, content string) (int, string) {
	t.Helper()
	body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n" + content + "\r\n--b--\r\n"
	return send(t, http.MethodPost, url, "multipart/form-data; boundary=b", body)
}
