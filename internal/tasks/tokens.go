package tasks

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/apiclient"
)

// TokenStoreConfig says whose token a TokenStore shares.
type TokenStoreConfig struct {
	Namespace string
	App       string                 // "org/app"
	ClientID  string                 // of the credentials that fetch the token
	Secret    func() (string, error) // the client secret, as it is now
}

// TokenStore shares the access token, and the leave to fetch the next one,
// among all workers of a namespace. It is an apiclient.Store.
//
// What stands in Redis is sealed with a key that comes from the client secret:
// whoever reads Redis, its dumps or its traffic does not see the token. Nor does
// a worker with another secret, client or app: to it there is none.
//
// It logs its failures itself, now and then; nobody has to wait for it.
type TokenStore struct {
	client redis.UniversalClient
	cfg    TokenStoreConfig
	owner  string
	log    *slog.Logger

	failed, foreign seldom
}

// NewTokenStore returns the store of one process.
func NewTokenStore(client redis.UniversalClient, cfg TokenStoreConfig, log *slog.Logger) *TokenStore {
	return &TokenStore{client: client, cfg: cfg, owner: rand.Text(), log: log}
}

const (
	// A token without a known end is shared for so long; its users learn of its
	// death from a 401 in any case.
	unknownLife = 24 * time.Hour
	// No token is shared for longer (CHAT-API: the vendor's own live 60 days).
	longestLife = 60 * 24 * time.Hour
	// Who fetched a token asks within a minute whether others had it accepted.
	acceptedFor = 10 * time.Minute
)

//go:embed token_acquire.lua
var acquireText string

var acquireScript = redis.NewScript(acquireText)

// key returns a key; all of them stand in one slot of a cluster.
func (s *TokenStore) key(part string) string { return s.cfg.Namespace + ":{token}:" + part }

// Load returns the shared token, the zero Token if there is none for this worker.
func (s *TokenStore) Load(ctx context.Context) (t apiclient.Token, err error) {
	defer func() { s.note("load", err) }()
	found, err := s.client.MGet(ctx, s.key("value"), s.key("accepted")).Result()
	if err != nil {
		return t, err
	}
	value, _ := found[0].(string) // absent: empty, as is the other
	accepted, _ := found[1].(string)
	if value == "" {
		return t, nil
	}
	text, err := s.open(value)
	if errors.Is(err, errForeignToken) {
		if s.foreign.due() {
			s.log.Info("the shared token is one of other credentials, and not used")
		}
		return t, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		return apiclient.Token{}, err
	}
	proof, err := s.open(accepted)
	t.Accepted = err == nil && string(proof) == t.Value
	return t, nil
}

// Save shares a token for its life, 60 days at most.
func (s *TokenStore) Save(ctx context.Context, t apiclient.Token) (err error) {
	defer func() { s.note("save", err) }()
	life := unknownLife
	if !t.Expires.IsZero() {
		life = min(time.Until(t.Expires), longestLife)
	}
	if life < time.Millisecond {
		return nil // it is over
	}
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	sealed, err := s.seal(text)
	if err != nil {
		return err
	}
	if err := s.client.Set(ctx, s.key("value"), sealed, life).Err(); err != nil {
		return err
	}
	s.log.Info("a token was fetched for all workers", "life", t.String())
	return nil
}

// Accepted tells the worker that fetched t that the API took it from another.
func (s *TokenStore) Accepted(ctx context.Context, t apiclient.Token) (err error) {
	defer func() { s.note("accepted", err) }()
	sealed, err := s.seal([]byte(t.Value))
	if err != nil {
		return err
	}
	return s.client.Set(ctx, s.key("accepted"), sealed, acceptedFor).Err()
}

// Acquire gives this worker the leave to fetch, if no other has it.
func (s *TokenStore) Acquire(ctx context.Context, d time.Duration) (mine bool, err error) {
	defer func() { s.note("acquire", err) }()
	given, err := acquireScript.Run(ctx, s.client, []string{s.key("fetch")}, s.owner, d.Milliseconds()).Int()
	return given == 1, err
}

// note logs a failure, unless it is the caller who has given up.
func (s *TokenStore) note(doing string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && s.failed.due() {
		s.log.Warn("the token cannot be shared with other workers", "doing", doing, "error", err)
	}
}

// errForeignToken says that a value was not sealed with our secret, for our
// app and client.
var errForeignToken = errors.New("sealed with other credentials")

// seal encrypts text so that only workers with the same credentials can read it.
func (s *TokenStore) seal(text []byte) (string, error) {
	aead, bound, err := s.cipher()
	if err != nil {
		return "", err
	}
	return string(aead.Seal(nil, nil, text, bound)), nil //nolint:gosec // the cipher adds a random nonce itself
}

func (s *TokenStore) open(sealed string) ([]byte, error) {
	aead, bound, err := s.cipher()
	if err != nil {
		return nil, err
	}
	text, err := aead.Open(nil, nil, []byte(sealed), bound)
	if err != nil {
		return nil, errForeignToken // what crypto has to say is no more than that
	}
	return text, nil
}

// cipher returns AES-256-GCM under a key of the secret as it is now, and what
// each value is bound to.
func (s *TokenStore) cipher() (aead cipher.AEAD, bound []byte, err error) {
	secret, err := s.cfg.Secret()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the client secret: %w", err)
	}
	use := "crier shared token\x00" + s.cfg.App + "\x00" + s.cfg.ClientID
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, use, 32)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	aead, err = cipher.NewGCMWithRandomNonce(block)
	return aead, []byte(use), err
}
