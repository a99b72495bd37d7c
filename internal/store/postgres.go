// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// What Config leaves open.
const (
	defaultConnections      = 10
	minConnections          = postgresLanes + 2
	defaultLifetime         = 30 * time.Minute
	defaultStatementTimeout = 10 * time.Second
	defaultLockTimeout      = 2 * time.Second
	defaultIdleTimeout      = 5 * time.Second
	connectTimeout          = 5 * time.Second
	// oldestServer has all that is used here; older ones are out of support.
	oldestServer = 130000
)

// warningKey is where a connection keeps the last warning that came to it.
const warningKey = "hsmsigner.warning"

// lanes of PostgreSQL: one for all, one for what changes leases, one for what
// appends to the audit log and one for what counts allowances, since those may
// wait for another daemon's transaction.
const postgresLanes = 4

// postgres is what is known of the server and how it is spoken to.
type postgres struct {
	cfg      *pgx.ConnConfig
	password string
	pooled   bool     // a pooler in transaction mode is in between
	local    []string // sets the limits at the start of each transaction
	// forWriters are settings of connections that write, where they can be kept.
	forWriters [][2]string
	patience   time.Duration
	facts      facts

	types       sync.Map // of a statement's parameters: text → []uint32
	mergedTexts sync.Map // text → text that does the same for many rows
}

// IsURL reports whether where names a PostgreSQL database rather than a data
// directory.
func IsURL(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// parsePostgres reads the URL. No error of it shows any part of a URL that it
// cannot take apart, since that may be the password.
func parsePostgres(cfg Config) (*postgres, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || !IsURL(cfg.URL) {
		return nil, fmt.Errorf("store: the database URL cannot be read: want postgres://user:password@host:5432/database?sslmode=verify-full, with all but letters, digits and -._~ of the password percent-encoded")
	}
	p := &postgres{pooled: cfg.Pooler}
	p.password, _ = u.User.Password()
	if p.cfg, err = pgx.ParseConfig(cfg.URL); err != nil {
		var parse *pgconn.ParseConfigError
		if errors.As(err, &parse) && parse.Unwrap() != nil {
			err = parse.Unwrap()
		}
		return nil, fmt.Errorf("store: the database URL cannot be read: %w", p.said(err))
	}
	p.password = p.cfg.Password
	if p.cfg.Database == "" {
		return nil, fmt.Errorf("store: the database URL names no database: want postgres://user:password@host:5432/database")
	}
	return p, nil
}

// said takes the password out of an error, wherever it may have come from.
func (p *postgres) said(err error) error {
	if err == nil || p.password == "" || !strings.Contains(err.Error(), p.password) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), p.password, "xxxxx"))
}

// where names the database in errors and logs.
func (p *postgres) where() string {
	hosts := []string{net.JoinHostPort(p.cfg.Host, strconv.Itoa(int(p.cfg.Port)))}
	for _, f := range p.cfg.Fallbacks {
		host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))
		if hosts[len(hosts)-1] != host { // once with TLS, once without
			hosts = append(hosts, host)
		}
	}
	return "postgres://" + strings.Join(hosts, ",") + "/" + p.cfg.Database
}

// configure makes the connections' settings.
func (p *postgres) configure(cfg Config, readOnly bool) {
	limits := [][2]string{
		{"statement_timeout", milliseconds(cfg.StatementTimeout, defaultStatementTimeout)},
		{"lock_timeout", milliseconds(cfg.LockTimeout, defaultLockTimeout)},
		{"idle_in_transaction_session_timeout", milliseconds(cfg.IdleTimeout, defaultIdleTimeout)},
	}
	if p.facts.raise {
		limits = append(limits, [2]string{"synchronous_commit", "on"})
	}
	// The writers' statements find each row by its index, however few rows a
	// table has now: a plan that is made for an empty one would be kept while it
	// grows. For the same reason one plan is made for all arguments.
	plans := [][2]string{
		{"enable_seqscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"jit", "off"},
		{"plan_cache_mode", "force_generic_plan"},
	}
	p.patience = or(cfg.StatementTimeout, defaultStatementTimeout) + connectTimeout
	p.local = nil
	var set []string
	for _, limit := range limits {
		if p.pooled {
			delete(p.cfg.RuntimeParams, limit[0])
		} else {
			p.cfg.RuntimeParams[limit[0]] = limit[1]
		}
	}
	for _, param := range append(limits, plans...) {
		set = append(set, "set_config('"+param[0]+"', '"+param[1]+"', true)")
	}
	p.forWriters = plans
	p.cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	if p.pooled {
		p.cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
		p.local = []string{"SELECT " + strings.Join(set, ", ")}
	}
	p.cfg.StatementCacheCapacity = maxPrepared
	if p.cfg.RuntimeParams["application_name"] == "" {
		p.cfg.RuntimeParams["application_name"] = "hsmsigner"
	}
	if p.cfg.ConnectTimeout == 0 || p.cfg.ConnectTimeout > connectTimeout {
		p.cfg.ConnectTimeout = connectTimeout
	}
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}}
	p.cfg.DialFunc = dialer.DialContext
	if !readOnly && p.cfg.ValidateConnect == nil {
		p.cfg.ValidateConnect = refuseStandby
	}
	p.cfg.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.Code == "01000" {
			conn.CustomData()[warningKey] = n.Message
		}
	}
}

// errStandby is what a server that only follows another one is refused with.
// With several hosts in the URL the next one is tried.
var errStandby = errors.New("this server is a hot standby (in recovery), which takes no writes; name the primary, or all servers: postgres://user@host1,host2/database")

func refuseStandby(ctx context.Context, conn *pgconn.PgConn) error {
	result := conn.ExecParams(ctx, "SELECT pg_is_in_recovery()", nil, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	if len(result.Rows) == 1 && string(result.Rows[0][0]) == "t" {
		return errStandby
	}
	return nil
}

// probe connects once, finds out how the server is to be spoken to, and what
// kind of server it is.
func (p *postgres) probe(ctx context.Context, cfg Config, readOnly bool) error {
	p.configure(cfg, readOnly)
	conn, err := pgx.ConnectConfig(ctx, p.cfg)
	if err != nil && !p.pooled && refusesParameters(err) {
		p.pooled = true
		p.configure(cfg, readOnly)
		conn, err = pgx.ConnectConfig(ctx, p.cfg)
	}
	if err != nil {
		return fmt.Errorf("store: connect to %s: %w", p.where(), p.said(err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if !p.pooled {
		// A pooler that is told to ignore parameters takes them and drops them.
		var timeout string
		err := conn.QueryRow(ctx, "SELECT current_setting('lock_timeout')", pgx.QueryExecModeSimpleProtocol).Scan(&timeout)
		if err != nil {
			return fmt.Errorf("store: read settings of %s: %w", p.where(), err)
		}
		want := or(cfg.LockTimeout, defaultLockTimeout)
		if got, err := parseSetting(timeout); err == nil && got != want {
			p.pooled = true
		}
	}
	if p.facts, err = readFacts(ctx, conn); err != nil {
		return fmt.Errorf("store: read settings of %s: %w", p.where(), err)
	}
	if p.facts.version < oldestServer {
		return fmt.Errorf("store: %s runs PostgreSQL %d; want %d or newer", p.where(), p.facts.version/10000, oldestServer/10000)
	}
	p.configure(cfg, readOnly)
	return nil
}

// refusesParameters recognises a pooler (pgbouncer and its like), which refuses
// settings that it does not track at the start of a connection.
func refusesParameters(err error) bool {
	return sqlState(err) == stateProtocol && strings.Contains(err.Error(), "unsupported startup parameter")
}

// parseSetting reads a time as the server shows it: 2s, 500ms, 1min.
func parseSetting(s string) (time.Duration, error) {
	return time.ParseDuration(strings.Replace(s, "min", "m", 1))
}

func (p *postgres) pool(size int, lifetime time.Duration) *sql.DB {
	return openPostgresPool(p.cfg, size, lifetime)
}

func (p *postgres) writers(size int) *sql.DB {
	cfg := p.cfg.Copy()
	if !p.pooled {
		for _, param := range p.forWriters {
			cfg.RuntimeParams[param[0]] = param[1]
		}
	}
	return openPostgresPool(cfg, size, 0)
}

func openPostgresPool(cfg *pgx.ConnConfig, size int, lifetime time.Duration) *sql.DB {
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	pool.SetConnMaxLifetime(lifetime)
	return pool
}

func milliseconds(d, otherwise time.Duration) string {
	return strconv.FormatInt(or(d, otherwise).Milliseconds(), 10)
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// brokenConnection recognises what a restart or fail-over of the server does to
// the connections that were open.
func brokenConnection(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if state := sqlState(err); state != "" {
		return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P")
	}
	var netErr net.Error
	return errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr)
}
