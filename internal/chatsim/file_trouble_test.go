package chatsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestUploadsMeetFaultsAndOutages(t *testing.T) {
	for _, tt := range []struct {
		kind          FaultKind
		status, taken int
		retryAfter    string
	}{
		{FaultThrottle, 429, 0, "2"},
		{FaultError, 500, 0, ""},
		{FaultErrorAfter, 500, 1, ""},
		{FaultEmpty, 200, 1, ""},
		{FaultSlow, 200, 1, ""},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			s := newSim(t, func(c *Config) {
				fault := Fault{Kind: tt.kind, Percent: 100}
				if tt.retryAfter != "" {
					fault.RetryAfter = 2 * time.Second
				}
				c.Faults = []Fault{fault}
			})
			got := s.upload(t, "x")
			if got.Status != tt.status || got.Header.Get("Retry-After") != tt.retryAfter || len(s.Files()) != tt.taken {
				t.Errorf("got %d %s, %d files", got.Status, got.Text, len(s.Files()))
			}
			if st := s.Stats(); st.Faults[tt.kind] != 1 || st.Uploads != int64(tt.taken) {
				t.Errorf("stats %+v", st)
			}
			if got := s.upload(t, "x", bearer("other")); tt.taken == 1 && got.Status != http.StatusUnauthorized {
				t.Errorf("what the rules refuse is not spared: %d", got.Status)
			}
		})
	}
	t.Run("reset", func(t *testing.T) {
		s, url := startSim(t, func(c *Config) { c.Faults = []Fault{{Kind: FaultReset, Percent: 100}} })
		if _, err := postFile(t, newClient(t), url, "x"); !errors.Is(err, syscall.ECONNRESET) || len(s.Files()) != 0 {
			t.Errorf("got %v, %d files", err, len(s.Files()))
		}
	})
	t.Run("outage", func(t *testing.T) {
		s := newSim(t, nil)
		uuid := s.upload(t, "x").Entities[0].UUID
		s.SetOutage(OutageUnavailable)
		if got := s.upload(t, "x"); got.Status != http.StatusServiceUnavailable || len(s.Files()) != 1 {
			t.Errorf("got %d, %d files", got.Status, len(s.Files()))
		}
		if got := s.download(t, uuid, ""); got.Status != http.StatusServiceUnavailable {
			t.Errorf("download: %d", got.Status)
		}
	})
}

// postFile uploads over the network.
func postFile(t testing.TB, client *http.Client, url, content string) (status int, err error) {
	t.Helper()
	body, contentType := formOf(t, "file", "a.bin", "", content)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+filesURL, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Authorization", "Bearer demo-token")
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestLargeFilesOverTheNetwork(t *testing.T) {
	if n := DefaultConfig().MaxFile; n != 10<<20 {
		t.Errorf("the documented limit is %d", n)
	}
	s, url := startSim(t, func(c *Config) { c.MaxFile = 1 << 20 })
	client := newClient(t)
	content := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		content string
		status  int
	}{{content, 200}, {content + "x", 413}, {strings.Repeat(content, 8), 413}} {
		if status, err := postFile(t, client, url, tt.content); status != tt.status || err != nil {
			t.Errorf("%d bytes: got %d, %v", len(tt.content), status, err)
		}
	}
	if files := s.Files(); len(files) != 1 || string(files[0].Bytes) != content {
		t.Errorf("%d files", len(files))
	}
}

// TestConcurrentUploads has files come, go and be listed amid message calls.
func TestConcurrentUploads(t *testing.T) {
	s, url := startSim(t, func(c *Config) { c.MaxFiles = 5 })
	const senders, uploads = 4, 20
	client := newClient(t)
	var group sync.WaitGroup
	for sender := range senders {
		group.Go(func() {
			for n := range uploads {
				content := strings.Repeat(fmt.Sprintf("%d-%d ", sender, n), 500)
				if status, err := postFile(t, client, url, content); status != http.StatusOK || err != nil {
					t.Errorf("upload: %d, %v", status, err)
				}
				if status := post(t, client, url+unifiedPath, hello); status != http.StatusOK {
					t.Errorf("message: %d", status)
				}
				for _, file := range s.Files() {
					word, _, _ := strings.Cut(string(file.Bytes), " ")
					if string(file.Bytes) != strings.Repeat(word+" ", 500) {
						t.Errorf("%s is mixed up", word)
					}
				}
			}
		})
	}
	group.Wait()
	var st Stats
	if err := json.Unmarshal([]byte(s.steer(t, "GET", "stats", "", 200)), &st); err != nil || st.Uploads != senders*uploads || st.AcceptedCalls != senders*uploads {
		t.Errorf("stats %+v, %v", st, err)
	}
	if len(s.Files()) != 5 {
		t.Errorf("%d files", len(s.Files()))
	}
}
