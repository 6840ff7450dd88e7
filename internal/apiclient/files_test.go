package apiclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testShare = "share-secret-of-the-tests-0123456789"

// fileAnswer is the vendor's own answer, as CHAT-API: "Files" tells of it.
func fileAnswer(base, secret string) string {
	return fmt.Sprintf(`{"action":"post","uri":"%s/chat-demo/testapp/chatfiles","entities":[{"uuid":"5fd74830-10cf-11e5-8ff1-b1b4e1c1b2c3","type":"chatfile","share-secret":"%s"}],"duration":92}`,
		base, secret)
}

// upload is a small file.
func upload(text string) Upload {
	return Upload{Name: `my "best" photo.png`, ContentType: "image/png", Content: strings.NewReader(text), Size: int64(len(text))}
}

// wantUploadError uploads and returns the *Error that this must end with.
func wantUploadError(ctx context.Context, t *testing.T, client *Client, f Upload) *Error {
	t.Helper()
	file, err := client.Upload(ctx, f)
	e, ok := errors.AsType[*Error](err)
	if !ok || file != (File{}) {
		t.Fatalf("error %v, file %+v", err, file)
	}
	if shown := fmt.Sprintf("%v %+v", e, *e); strings.Contains(shown, "0123456789") || !strings.HasPrefix(shown, "apiclient: upload: ") {
		t.Errorf("%s", shown)
	}
	return e
}

func TestUpload(t *testing.T) {
	var url string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		part, header, err := r.FormFile("file")
		if err != nil {
			t.Error(err)
			return
		}
		text, err := io.ReadAll(part)
		if err != nil || string(text) != "content" || header.Filename != `my "best" photo.png` || header.Header.Get("Content-Type") != "image/png" {
			t.Errorf("%v: %q as %v", err, text, header.Header)
		}
		if r.Method != http.MethodPost || r.URL.String() != "/chat-demo/testapp/chatfiles" || r.ContentLength <= 7 ||
			r.Header.Get("Authorization") != "Bearer "+testToken || r.Header.Get("restrict-access") != "true" {
			t.Errorf("%s %s of %d bytes with %v", r.Method, r.URL, r.ContentLength, r.Header)
		}
		_, _ = io.WriteString(w, fileAnswer(url, testShare))
	})
	url = server.URL
	var seen []string
	client := newClient(t, server.URL, func(c *Config) {
		c.Observe = func(endpoint string, status int, _ time.Duration) {
			seen = append(seen, fmt.Sprint(endpoint, " ", status))
		}
	})
	got, err := client.Upload(t.Context(), upload("content"))
	want := File{URL: url + "/chat-demo/testapp/chatfiles/5fd74830-10cf-11e5-8ff1-b1b4e1c1b2c3", Secret: testShare}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if shown := fmt.Sprintf("%v %+v", got, got); strings.Contains(shown, testShare) {
		t.Errorf("the secret shows: %s", shown)
	}
	if diff := cmp.Diff([]string{"chatfiles 200"}, seen); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func TestUploadWithoutSecretAndType(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, header, err := r.FormFile("file")
		if err != nil || header.Header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%v, %v", err, header)
		}
		_, _ = io.WriteString(w, `{"uri":"https://a1.easecdn.com/o/a/chatfiles/","entities":[{"uuid":"1234"}]}`)
	})
	f := upload("content")
	f.ContentType = ""
	got, err := newClient(t, server.URL).Upload(t.Context(), f)
	if diff := cmp.Diff(File{URL: "https://a1.easecdn.com/o/a/chatfiles/1234"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// What can never succeed is tried once, and what it was is told.
func TestUploadRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   Kind
	}{
		{"too large", 413, fixture(t, "413_html.html"), KindTooLarge},
		{"wrong", 400, fixture(t, "400_illegal_argument.json"), KindRejected},
		{"forbidden", 403, fixture(t, "403_forbidden_op.json"), KindNotAllowed},
		{"fixed token", 401, fixture(t, "401_unauthorized.json"), KindUnauthorized},
		{"unknown app", 404, fixture(t, "404_organization_application_not_found.json"), KindUnknownApp},
		{"redirect", 302, "", KindUnknownApp},
		{"plan", 429, fixture(t, "429_resource_limited.json"), KindPlan},
		{"an echo", 400, `{"error":"illegal_argument","error_description":"token ` + testToken + `"}`, KindRejected},
		{"no JSON", 200, "<html>" + testShare, KindUnsupported},
		{"no entity", 200, `{"uri":"http://h/o/a/chatfiles","entities":[]}`, KindUnsupported},
		{"no URI", 200, `{"entities":[{"uuid":"1","share-secret":"` + testShare + `"}]}`, KindUnsupported},
		{"no id", 200, `{"uri":"http://h/o/a/chatfiles","entities":[{"share-secret":"` + testShare + `"}]}`, KindUnsupported},
		{"an id that is a path", 200, `{"uri":"http://h/o/a/chatfiles","entities":[{"uuid":"../x"}]}`, KindUnsupported},
		{"another scheme", 200, `{"uri":"file:///o/a/chatfiles","entities":[{"uuid":"1"}]}`, KindUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int32
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			e := wantUploadError(t.Context(), t, newClient(t, server.URL), upload("content"))
			if e.Kind != tt.want || e.Status != tt.status || calls.Load() != 1 {
				t.Errorf("%d calls, %v: %+v", calls.Load(), e, *e)
			}
		})
	}
}

// Files that cannot be uploaded cost no call.
func TestUploadSize(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return // the file that is cut off gets as far as here, or not
		}
		if n <= MaxFile {
			t.Errorf("%d bytes came", n)
		}
		_, _ = io.WriteString(w, fileAnswer("http://h", ""))
	})
	client := newClient(t, server.URL)
	for size, want := range map[int64]Kind{0: KindRejected, -1: KindRejected, MaxFile + 1: KindTooLarge} {
		if e := wantUploadError(t.Context(), t, client, Upload{Name: "f", Content: strings.NewReader("x"), Size: size}); e.Kind != want {
			t.Errorf("%d bytes: %v", size, e)
		}
	}
	whole := strings.Repeat("0123456789abcdef", MaxFile/16)
	if _, err := client.Upload(t.Context(), upload(whole)); err != nil {
		t.Errorf("the largest file: %v", err)
	}
	f := upload("content, cut off")
	f.Size += 3
	if e := wantUploadError(t.Context(), t, client, f); e.Kind != KindRejected || !strings.Contains(e.Error(), "3 bytes are missing") {
		t.Errorf("%v", e)
	}
}

// What may pass is tried again, from the file's beginning; also a lost answer.
func TestUploadIsRepeated(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"throttled": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"away":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"broken": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"lost": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		},
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"uri":`)
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Repeat("content ", 100_000) // more than any buffer on the way holds
			var calls atomic.Int32
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					first(w, r)
					return
				}
				part, _, err := r.FormFile("file")
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(part); err != nil || string(got) != text {
					t.Errorf("%d bytes came, %v", len(got), err)
				}
				_, _ = io.WriteString(w, fileAnswer("http://h", testShare))
			})
			began := time.Now()
			file, err := newClient(t, server.URL).Upload(t.Context(), upload(text))
			if err != nil || file.Secret != testShare || calls.Load() != 2 {
				t.Errorf("%d calls, %v, %v", calls.Load(), file, err)
			}
			if took := time.Since(began); name == "throttled" && took < time.Second {
				t.Errorf("the pause that was asked for is not kept: %v", took)
			}
		})
	}
}

// An upload that never succeeds ends with the last reason.
func TestUploadGivesUp(t *testing.T) {
	t.Run("after its patience", func(t *testing.T) {
		server := serve(t, nil)
		server.Close()
		client := newClient(t, server.URL)
		client.files.patience = time.Second
		if e := wantUploadError(t.Context(), t, client, upload("content")); e.Kind != KindUnavailable || e.Status != 0 {
			t.Errorf("%+v", *e)
		}
	})
	t.Run("for a pause beyond it", func(t *testing.T) {
		var calls atomic.Int32
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Retry-After", "31")
			w.WriteHeader(http.StatusTooManyRequests)
		})
		if e := wantUploadError(t.Context(), t, newClient(t, server.URL), upload("content")); e.Kind != KindThrottled || calls.Load() != 1 {
			t.Errorf("%d calls, %+v", calls.Load(), *e)
		}
	})
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		})
		if e := wantUploadError(ctx, t, newClient(t, server.URL), upload("content")); !errors.Is(e, context.Canceled) {
			t.Errorf("%v", e)
		}
	})
	t.Run("without an answer", func(t *testing.T) {
		server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		client := newClient(t, server.URL, func(c *Config) { c.Timeout = 100 * time.Millisecond })
		client.files.patience = 0
		if e := wantUploadError(t.Context(), t, client, upload("content")); e.Kind != KindUnknown || !strings.Contains(e.Error(), "no answer within 100") {
			t.Errorf("%+v", *e)
		}
	})
}

// A token that is refused is replaced, and the file goes again from its beginning.
func TestUploadWithDeadToken(t *testing.T) {
	var mu sync.Mutex
	given, uploads := 0, 0
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/token") {
			given++
			_, _ = fmt.Fprintf(w, `{"access_token":"YWMt-0123456789-%d","expires_in":3600}`, given)
			return
		}
		uploads++
		if r.Header.Get("Authorization") != "Bearer YWMt-0123456789-2" {
			w.WriteHeader(http.StatusUnauthorized) // and the rest of the file is not read
			_, _ = io.WriteString(w, fixture(t, "401_expired.json"))
			return
		}
		part, _, err := r.FormFile("file")
		if err != nil {
			t.Error(err)
			return
		}
		if text, err := io.ReadAll(part); err != nil || string(text) != "content" {
			t.Errorf("%q, %v", text, err)
		}
		_, _ = io.WriteString(w, fileAnswer("http://h", ""))
	})
	tokens := newTokens(t, server.URL)
	tokens.interval = 10 * time.Millisecond
	client := newClient(t, server.URL, func(c *Config) { c.Tokens = tokens })
	first, err := tokens.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens.Accepted(first) // so it has died since, and says nothing of the settings
	if _, err := client.Upload(t.Context(), upload("content")); err != nil || given != 2 || uploads != 2 {
		t.Errorf("%v, %d tokens, %d uploads", err, given, uploads)
	}
}

func TestUploadFollowsNoRedirect(t *testing.T) {
	var asked atomic.Int32
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if e := wantUploadError(t.Context(), t, newClient(t, server.URL), upload("content")); e.Kind != KindUnknownApp || asked.Load() != 0 {
		t.Errorf("%v, %d calls elsewhere", e, asked.Load())
	}
}
