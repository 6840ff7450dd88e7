package redisconn

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/extra/redisprometheus/v9"
	"github.com/redis/go-redis/v9"
)

// Metrics collects what the server tells of itself, how long it takes to answer
// this process, and how the connections to it are used.
func (c *Conn) Metrics() prometheus.Collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("crier_redis_"+name, help, nil, nil)
	}
	return &collector{
		conn:        c,
		pool:        redisprometheus.NewCollector("crier", "redis", c.Client),
		up:          desc("up", "1 if Redis answered this process just now, and did not refuse."),
		ping:        desc("ping_seconds", "Time of the last question to Redis and its answer."),
		used:        desc("memory_used_bytes", "Memory that Redis uses; in a cluster, the fullest master."),
		limit:       desc("memory_max_bytes", "Its limit (maxmemory); 0 = none."),
		clients:     desc("connected_clients", "Connections to Redis, of all programs."),
		replicas:    desc("replicas", "Replicas that Redis has; in a cluster, of the master with the fewest."),
		persistence: desc("persistence_ok", "1 if Redis's last writes to disk went well, or none was due."),
		commands:    desc("commands_total", "Commands that Redis has carried out, for all programs."),
		evicted:     desc("evicted_keys_total", "Keys that Redis has deleted since its memory was full: records of jobs may be among them."),
	}
}

type collector struct {
	conn *Conn
	pool prometheus.Collector

	up, ping, used, limit, clients, replicas, persistence, commands, evicted *prometheus.Desc
}

// Describe is for prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	c.pool.Describe(ch)
	for _, d := range []*prometheus.Desc{c.up, c.ping, c.used, c.limit, c.clients, c.replicas, c.persistence, c.commands, c.evicted} {
		ch <- d
	}
}

// askWithin is how long a scrape waits for Redis, of the ten seconds that Prometheus does.
const askWithin = 3 * time.Second

// Collect is for prometheus.Collector. What Redis does not tell is left out.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.pool.Collect(ch)
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
		ch <- prometheus.MustNewConstMetric(d, kind, value)
	}
	began := time.Now()
	up := 1.0
	if err := c.conn.Client.Ping(ctx).Err(); err != nil {
		up = 0
		// One that refuses everything since its disk is full can still say so.
		var refusal redis.Error
		if !errors.As(err, &refusal) {
			tell(c.up, prometheus.GaugeValue, up)
			return
		}
	}
	tell(c.ping, prometheus.GaugeValue, time.Since(began).Seconds())
	tell(c.up, prometheus.GaugeValue, up)
	facts, err := c.conn.Check(ctx)
	if err != nil || facts.Version == "" {
		return
	}
	load := facts.Load
	saved := 1.0
	if load.NotSaved {
		saved = 0
	}
	tell(c.used, prometheus.GaugeValue, float64(load.UsedMemory))
	tell(c.limit, prometheus.GaugeValue, float64(facts.MaxMemory))
	tell(c.clients, prometheus.GaugeValue, float64(load.Clients))
	tell(c.replicas, prometheus.GaugeValue, float64(load.Replicas))
	tell(c.persistence, prometheus.GaugeValue, saved)
	tell(c.commands, prometheus.CounterValue, float64(load.Commands))
	tell(c.evicted, prometheus.CounterValue, float64(load.EvictedKeys))
}
