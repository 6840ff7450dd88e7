// Command healthcheck asks a URL whether all is well: for container images that
// hold no shell and no other program that could.
//
// It exits with 0 when the answer is 200, with 1 and the reason on standard
// error when it is another or none, and with 2 when it was called wrongly. It
// follows no redirects and heeds no proxy: what answers is what was asked.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"crier/internal/settings"
)

// timeout bounds the whole call: shorter than what container engines wait, so
// that the reason is told.
const timeout = 2 * time.Second

// maxReason is how many bytes of an answer are shown.
const maxReason = 512

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, timeout)) }

// run is the program; it returns the exit code.
func run(args []string, stdout, stderr io.Writer, timeout time.Duration) int {
	if len(args) == 1 && args[0] == "--version" {
		_, _ = fmt.Fprintln(stdout, settings.About())
		return settings.ExitOK
	}
	if len(args) != 1 || !strings.HasPrefix(args[0], "http://") {
		_, _ = fmt.Fprintln(stderr, "usage: healthcheck http://HOST:PORT/PATH")
		return settings.ExitUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := check(ctx, args[0]); err != nil {
		_, _ = fmt.Fprintln(stderr, "healthcheck:", err)
		return settings.ExitFail
	}
	return settings.ExitOK
}

// check returns nil when the answer is 200.
func check(ctx context.Context, target string) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody) //nolint:gosec // G704: to ask what it is told to is all it does
	if err != nil {
		return err
	}
	response, err := client.Do(request) //nolint:gosec // G704: as above
	if err != nil {
		var broken *url.Error
		if errors.As(err, &broken) {
			return fmt.Errorf("no answer: %w", broken.Err) // the URL is known to who asks
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	reason, _ := io.ReadAll(io.LimitReader(response.Body, maxReason)) // as much as there is
	return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(reason)))
}
