// Package redisconn makes a go-redis client from a REDIS_URL: a single server,
// one behind sentinels, a cluster, or one embedded in this process.
//
// Invariant: no error, log or address of it shows a password.
//
// It stores nothing and knows no key; what it finds out about a server it
// reports (Facts), and the caller decides what to make of it.
package redisconn

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	dialTimeout  = 5 * time.Second
	readTimeout  = 3 * time.Second // of one answer, scripts included
	writeTimeout = 3 * time.Second
)

// Conn is a client and what belongs to it.
type Conn struct {
	// Client is safe for concurrent use. It is closed by Close, not by the caller.
	Client redis.UniversalClient
	// Embedded says that the server runs in this process and keeps nothing.
	Embedded bool

	addr  string
	close func() error
}

// Option changes the settings of a client.
type Option func(*redis.UniversalOptions)

// PoolSize sets how many connections to a server, in a cluster to each, commands
// share; 0 = 10 for every CPU. Pipelines have up to 10 of their own.
func PoolSize(n int) Option {
	return func(o *redis.UniversalOptions) { o.PoolSize = n }
}

// Parse reports what is wrong with a REDIS_URL, and connects to nothing. It
// reads the TLS files that the URL names. The error never shows a password, and
// hardly anything else of the URL.
func Parse(rawURL string) error {
	_, err := parseURL(rawURL)
	return err
}

func parseURL(rawURL string) (*endpoint, error) {
	e, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redisconn: the Redis URL %w", err)
	}
	return e, nil
}

// Open makes a client for one of
//
//	redis://[user:password@]host[:6379][/db]
//	redis-sentinel://[user:password@]host[:26379],...[/db]?master=NAME[&sentinel_user=...&sentinel_password=...]
//	redis-cluster://[user:password@]host[:6379],...
//	embedded[:PORT]
//
// User and password are those of the Redis servers. The first three also exist
// as rediss, rediss-sentinel and rediss-cluster: over TLS 1.2 or later, with the
// query parameters ca, cert and key for files in PEM form. Everything else in a
// URL is an error.
//
// It does not connect: commands do, and Check tells whether they can. Only the
// embedded server starts at once, on 127.0.0.1, port 6379 or PORT (0 = any free
// one), and fails if the port is in use. Close what Open returned.
func Open(rawURL string, opts ...Option) (*Conn, error) {
	e, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	stop := func() {}
	if e.topology == embedded {
		if e.hosts[0], stop, err = startEmbedded(e.hosts[0]); err != nil {
			return nil, err
		}
	}
	client := newClient(e.options(opts))
	return &Conn{
		Client:   client,
		Embedded: e.topology == embedded,
		addr:     e.String(),
		close: sync.OnceValue(func() error {
			err := client.Close()
			stop()
			return err
		}),
	}, nil
}

// clusterView is how old the view of a cluster gets before it is asked for anew.
// Of a master that has died nobody tells who has taken its place: a client that
// looks as seldom as go-redis does by itself stands still for up to a minute.
const clusterView = time.Second

func newClient(o *redis.UniversalOptions) redis.UniversalClient {
	if !o.IsClusterMode {
		return redis.NewUniversalClient(o)
	}
	c := o.Cluster()
	c.ClusterStateReloadInterval = clusterView
	// Every command here goes to the slot of its keys, or to any server. Policies
	// would have to be asked for with COMMAND: again and again by a user who may not.
	c.DisableRoutingPolicies = true
	return redis.NewClusterClient(c)
}

// Addr is the URL without user, password and files: safe to print, and, of an
// embedded server, what other programs can reach it by.
func (c *Conn) Addr() string { return c.addr }

// Trouble tells a person what is wrong with this Redis. err is of a command, and
// not nil.
func (c *Conn) Trouble(err error) string {
	if refusal := redis.Error(nil); errors.As(err, &refusal) {
		return fmt.Sprintf("Redis at %s refuses: %v", c.addr, err)
	}
	return fmt.Sprintf("Redis at %s cannot be reached: %v", c.addr, err)
}

// Close closes the client and ends the embedded server. Further calls do nothing.
func (c *Conn) Close() error {
	if err := c.close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("redisconn: close: %w", err)
	}
	return nil
}

// options are the settings of the client for e.
func (e *endpoint) options(opts []Option) *redis.UniversalOptions {
	o := &redis.UniversalOptions{
		Addrs:            e.hosts,
		DB:               e.db,
		Username:         e.user,
		Password:         e.password,
		MasterName:       e.params["master"],
		SentinelUsername: e.params["sentinel_user"],
		SentinelPassword: e.params["sentinel_password"],
		IsClusterMode:    e.topology == cluster,
		TLSConfig:        e.tls,

		DialTimeout:           dialTimeout,
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		ContextTimeoutEnabled: true, // else a deadline would not end a command under way
		Protocol:              2,    // nothing here needs pushed messages, for which RESP3 looks before each answer

		// What old servers, proxies and miniredis answer with an error.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, opt := range opts {
		opt(o)
	}
	return o
}
