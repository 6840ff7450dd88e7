package checks

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// dockerfile reads it as BuildKit does, with its warnings as faults.
func dockerfile(t *testing.T) (text string, stages []instructions.Stage) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, "deploy/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.Parse(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range file.Warnings {
		t.Errorf("%s", warning.Short)
	}
	stages, _, err = instructions.Parse(file.AST, linter.New(&linter.Config{
		ExperimentalAll: true,
		Warn: func(rule, _, _, message string, at []parser.Range) {
			t.Errorf("%s: %s (%v)", rule, message, at)
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return string(content), stages
}

func TestTheImageIsSmallAndConfined(t *testing.T) {
	text, stages := dockerfile(t)
	if len(stages) != 2 || stages[1].BaseName != "scratch" {
		t.Fatalf("%d stages, the last from %s", len(stages), stages[len(stages)-1].BaseName)
	}
	base := regexp.MustCompile(`^golang:(\d+\.\d+)\.\d+-[a-z0-9]+$`).FindStringSubmatch(stages[0].BaseName)
	module, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if base == nil || !strings.Contains(string(module), "\ngo "+base[1]+".") {
		t.Errorf("it is built by %s, which is not the Go of go.mod with an exact tag", stages[0].BaseName)
	}

	var user string
	var authorities bool
	for _, command := range stages[1].Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.HealthCheckCommand:
			t.Error("each service has a health check of its own: the image must have none")
		case *instructions.CmdCommand:
			if c.PrependShell || !slices.Equal(c.CmdLine, []string{"/worker"}) {
				t.Errorf("CMD %v", c.CmdLine)
			}
		case *instructions.CopyCommand:
			authorities = authorities || strings.HasPrefix(c.DestPath, "/etc/ssl/certs")
			if c.From != stages[0].Name {
				t.Errorf("COPY from %q", c.From)
			}
		case *instructions.RunCommand, *instructions.AddCommand:
			t.Errorf("%s in the last stage", command.Name())
		}
	}
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("it may run as root: USER %q", user)
	}
	if !authorities {
		t.Error("no certificate authorities: no call over TLS can succeed")
	}
	makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`-X (\S+)=\$\(VERSION\)`).FindSubmatch(makefile)
	if variable == nil || !strings.Contains(text, "-X "+string(variable[1])+"=$VERSION") {
		t.Errorf("the version is not set as in the Makefile: %s", variable)
	}
	for _, part := range []string{"CGO_ENABLED=0", "-trimpath", "ARG VERSION=", "--mount=type=cache,target=/go/pkg/mod", "--mount=type=cache,target=/root/.cache/go-build"} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is missing", part)
		}
	}
}

// TestTheImageHasWhatIsStarted: programs that are built exist, their packages
// are copied, and all that the stack starts is among them.
func TestTheImageHasWhatIsStarted(t *testing.T) {
	text, stages := dockerfile(t)
	var built, packages []string
	for _, found := range regexp.MustCompile(`\./cmd/([a-z]+)`).FindAllStringSubmatch(text, -1) {
		built, packages = append(built, "/"+found[1]), append(packages, found[0])
	}
	var copied []string
	for _, command := range stages[0].Commands {
		if c, ok := command.(*instructions.CopyCommand); ok {
			copied = append(copied, c.SourcePaths...)
		}
	}
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}"}, packages...)...)
	list.Dir = repository
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	own := 0
	for path := range strings.Lines(string(out)) {
		path, ours := strings.CutPrefix(strings.TrimSpace(path), "crier/")
		if !ours {
			continue
		}
		own++
		if folder, _, _ := strings.Cut(path, "/"); !slices.Contains(copied, folder) {
			t.Errorf("%s is needed, and not copied: %v", path, copied)
		}
	}
	if own < len(built) {
		t.Errorf("go list has told of %d packages only", own)
	}
	for name, s := range stack(t, nil, "sandbox").Services {
		if s.Build == nil {
			continue
		}
		for _, program := range []string{s.Command[0], s.HealthCheck.Test[1]} {
			if !slices.Contains(built, program) {
				t.Errorf("%s: %s is not in the image: %v", name, program, built)
			}
		}
	}
}

// TestNothingElseIsHandedToTheBuild: secrets and history stay outside.
func TestNothingElseIsHandedToTheBuild(t *testing.T) {
	file, err := os.Open(filepath.Join(repository, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		".env": true, ".git/config": true, "secrets/chat-client-secret": true, "bin/worker": true, "deploy/Dockerfile": true,
		"cmd/worker/settings_test.go": true, "internal/apiclient/testdata/200_html.html": true,
		"go.mod": false, "go.sum": false, "cmd/worker/main.go": false, "internal/ledger/checkpoint.lua": false,
	} {
		if ignored, err := matcher.MatchesOrParentMatches(path); err != nil || ignored != want {
			t.Errorf("%s is left out: %t, %v", path, ignored, err)
		}
		if _, err := os.Stat(filepath.Join(repository, path)); !want && err != nil {
			t.Error(err)
		}
	}
}
