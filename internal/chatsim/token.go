package chatsim

import (
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Secrets are what a sender has to know. Change them while the simulator runs
// with [Server.SetSecrets].
type Secrets struct {
	Token        string // always accepted; empty = there is none
	ClientID     string // with ClientSecret; both empty = no token can be fetched
	ClientSecret string
}

// tokenDesk hands out bearer tokens and recognises them.
type tokenDesk struct {
	mu      sync.Mutex
	secrets Secrets
	issued  map[string]*issuedToken
	random  *rand.ChaCha8
}

// issuedToken is a fetched token; once dead it stays known, as dead.
type issuedToken struct {
	expires time.Time
	calls   int // message calls and uploads it was shown at
}

func newTokenDesk(secrets Secrets, seed int64) *tokenDesk {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(seed))
	return &tokenDesk{secrets: secrets, issued: make(map[string]*issuedToken), random: rand.NewChaCha8(key)}
}

// admit checks the Authorization header of a message call or an upload and
// counts it against the token's life. maxCalls 0 = tokens live until they expire.
func (d *tokenDesk) admit(authorization string, maxCalls int) *refusal {
	if authorization == "" {
		return &noToken
	}
	const scheme = "Bearer "
	if len(authorization) <= len(scheme) || authorization[:len(scheme)] != scheme {
		return &badToken
	}
	token := authorization[len(scheme):]
	d.mu.Lock()
	defer d.mu.Unlock()
	if token == d.secrets.Token {
		return nil
	}
	issued, known := d.issued[token]
	if !known {
		return &badToken
	}
	if !time.Now().Before(issued.expires) || maxCalls > 0 && issued.calls >= maxCalls {
		return &deadToken
	}
	issued.calls++
	return nil
}

// issue makes a new token that lives for ttl.
func (d *tokenDesk) issue(ttl time.Duration) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var noise [48]byte
	_, _ = d.random.Read(noise[:]) // never fails
	token := "YWMt" + base64.RawURLEncoding.EncodeToString(noise[:])
	d.issued[token] = &issuedToken{expires: time.Now().Add(ttl)}
	return token
}

// change puts other secrets in force and, if revoke is set, makes every token
// handed out so far a dead one.
func (d *tokenDesk) change(secrets Secrets, revoke bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secrets = secrets
	if !revoke {
		return
	}
	for _, issued := range d.issued {
		issued.expires = time.Time{}
	}
}

func (d *tokenDesk) current() Secrets {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.secrets
}

// fetchToken answers POST .../token; names and texts are those of the vendor's
// newer documents.
func (s *Server) fetchToken(c *call) answer {
	c.record.count(func(st *Stats) { st.TokenCalls++ })
	if !isJSON(c.request.Header) {
		return c.refuse(wrongMedia)
	}
	fields, refused := decodeObject(c.body)
	if refused != nil {
		return c.refuse(*refused)
	}
	if grant, ok := stringOf(fields["grant_type"]); !ok || grant != "client_credentials" {
		return c.refuse(illegalArgument("grant_type must be client_credentials"))
	}
	ttl := s.cfg.TokenTTL
	if raw, given := fields["ttl"]; given {
		seconds, err := strconv.ParseUint(string(raw), 10, 31)
		if raw.Kind() != jsontext.KindNumber || err != nil {
			return c.refuse(illegalArgument("ttl must be a number of seconds"))
		}
		if asked := time.Duration(seconds) * time.Second; asked > 0 {
			ttl = min(ttl, asked)
		}
	}
	secrets := s.tokens.current()
	for _, part := range []struct{ name, want string }{{"client_id", secrets.ClientID}, {"client_secret", secrets.ClientSecret}} {
		value, ok := stringOf(fields[part.name])
		if !ok || value == "" {
			return c.refuse(illegalArgument("%s must be provided", part.name))
		}
		if value != part.want {
			return c.refuse(refusal{status: http.StatusBadRequest, name: "invalid_grant", description: part.name + " does not match"})
		}
	}
	c.record.count(func(st *Stats) { st.TokensIssued++ })
	body := c.scratch.out[:0]
	body = append(body, `{"access_token":"`...)
	body = append(body, s.tokens.issue(ttl)...)
	body = append(body, `","expires_in":`...)
	body = strconv.AppendInt(body, int64(ttl/time.Second), 10)
	body = append(body, `,"application":"`+applicationID+`"}`...)
	return answer{status: http.StatusOK, body: body}
}
