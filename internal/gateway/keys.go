package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Keys are the API keys that clients may show, several at a time so that one can
// be replaced by another while both are in use. It is safe for concurrent use.
type Keys struct {
	log  *slog.Logger
	file string // "" = they never change

	mu     sync.Mutex
	hashes [][sha256.Size]byte
	looked time.Time   // when the file was last looked at
	seen   os.FileInfo // the file that the keys are of
}

// ParseKeys reads keys, separated by commas or line ends.
func ParseKeys(text string) (*Keys, error) {
	hashes, err := hashKeys(text)
	if err != nil {
		return nil, err
	}
	return &Keys{hashes: hashes}, nil
}

// ReadKeys reads keys from a file, and reads it again when it has changed: so a
// key can be added or withdrawn without a restart. While it cannot be read or
// holds none, the keys stay that were there.
func ReadKeys(file string, log *slog.Logger) (*Keys, error) {
	k := &Keys{file: file, log: log}
	return k, k.read()
}

// Count is how many keys there are; nil has none.
func (k *Keys) Count() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.hashes)
}

func hashKeys(text string) (hashes [][sha256.Size]byte, err error) {
	for key := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("a key must be printable ASCII without spaces: nothing else can be a bearer token")
		}
		hashes = append(hashes, sha256.Sum256([]byte(key)))
	}
	if hashes == nil {
		return nil, errors.New("there is no key in it")
	}
	return hashes, nil
}

// read is called with mu held, or before anybody else knows k.
func (k *Keys) read() error {
	info, err := os.Stat(k.file)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(k.file)
	if err != nil {
		return err
	}
	hashes, err := hashKeys(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", k.file, err)
	}
	k.hashes, k.seen = hashes, info
	return nil
}

// lookEvery is how often a file is looked at, if clients come.
const lookEvery = time.Second

// current returns the keys that count now.
func (k *Keys) current() [][sha256.Size]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == "" || time.Since(k.looked) < lookEvery {
		return k.hashes
	}
	k.looked = time.Now()
	info, err := os.Stat(k.file)
	if err == nil && info.ModTime().Equal(k.seen.ModTime()) && info.Size() == k.seen.Size() {
		return k.hashes
	}
	if err == nil {
		err = k.read()
	}
	if err != nil {
		k.log.Warn("the API keys cannot be read anew, the old ones still count", "error", err)
	} else {
		k.log.Info("API keys were read anew", "keys", len(k.hashes))
	}
	return k.hashes
}

// admit reports whether a request shows one of the keys. It takes the same time
// whatever is wrong with the one it shows.
func (k *Keys) admit(r *http.Request) bool {
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	hash := sha256.Sum256([]byte(strings.TrimSpace(shown)))
	ok := 0
	for _, known := range k.current() {
		ok |= subtle.ConstantTimeCompare(known[:], hash[:])
	}
	return ok == 1 && strings.EqualFold(scheme, "Bearer")
}

// open reports whether a request needs no key.
func open(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead { // the Chat API's own calls are under every name
		return false
	}
	switch r.URL.Path {
	case "/healthz", "/readyz", "/openapi.json", "/docs":
		return true
	}
	return strings.HasPrefix(r.URL.Path, docsPath)
}

// guard lets in who shows a key. Without keys there are only programs of this
// machine; browsers on it must not be made to call by somebody's page.
func (g *Gateway) guard(next http.Handler) http.Handler {
	if g.Keys == nil {
		return g.local(next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open(r) || g.Keys.admit(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="crier"`)
		what := "the API key is none that counts here"
		if r.Header.Get("Authorization") == "" {
			what = "an API key is needed: Authorization: Bearer KEY"
		}
		g.write(w, problem(http.StatusUnauthorized, "%s", what))
	})
}

// local refuses requests that a page of another site has made a browser send.
func (g *Gateway) local(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.write(w, problem(http.StatusForbidden, "a request from another site's page is not taken"))
	}))
	next = protection.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !isLoopback(host) {
			g.write(w, problem(http.StatusForbidden, "without API keys this is served to 127.0.0.1 and localhost only, not as %.80q", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(host string) bool {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// OnlyLocal reports whether an address to listen on can be reached from this
// machine alone.
func OnlyLocal(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && isLoopback(host)
}
