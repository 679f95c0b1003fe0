package limits

import "time"

// What may happen at once. docs/spec/limits.md has a row for each of them: where
// it is checked, and what those beyond it see.
const (
	// Streams is how many requests one connection carries at once, on every
	// gRPC listener.
	Streams = 64

	// GatewayConnections is how many producers' connections the gateway holds.
	GatewayConnections = 1024
	// GatewaySubmits is how many envelopes the gateway works on.
	GatewaySubmits = 64
	// GatewayReceiving is how many of them are being read from their
	// connections, when nobody knows yet how large they get.
	GatewayReceiving = 32
	// GatewayBytes is what the envelopes weigh that were read, in bytes.
	GatewayBytes = 256 << 20
	// GatewayLookups is how many other requests the gateway serves. The answer
	// to each of them may hold a report, which has up to 8 MiB.
	GatewayLookups = 32
	// GatewayProbes is how many health checks the gateway serves, watches
	// included.
	GatewayProbes = 32
	// GatewaySends is how many envelopes the gateway has with the enclave.
	GatewaySends = 16

	// IntakeConnections is how many connections the enclave's intake holds.
	IntakeConnections = 16
	// IntakeEnvelopes is how many envelopes the enclave's intake reads and
	// works on.
	IntakeEnvelopes = 32
	// IntakeOpening is how many of them are open: decrypted, in columns.
	IntakeOpening = 8
	// IntakeBytes is what the open ones weigh, sealed, in bytes.
	IntakeBytes = 64 << 20
	// IntakeProbes is how many other requests the intake serves.
	IntakeProbes = 32

	// AttestedConnections is how many connections the enclave's attested TLS
	// holds.
	AttestedConnections = 1024
	// AttestedRequests is how many requests it serves on all of them, and
	// AttestedRequestsPerPrincipal how many of one analyst.
	AttestedRequests             = 256
	AttestedRequestsPerPrincipal = 64
	// Exchanges is how many connections are in the attls exchange.
	Exchanges = 64
	// Attesting is how many exchanges ask for a document: the security module
	// is serial, and others need it too.
	Attesting = 4
	// Queries is how many queries run, and QueriesPerPrincipal how many of one
	// analyst.
	Queries             = 16
	QueriesPerPrincipal = 4
	// QueriesWaiting is how many wait for a turn, and
	// QueriesWaitingPerPrincipal how many of one analyst.
	QueriesWaiting             = 64
	QueriesWaitingPerPrincipal = 16
	// QueryMemoryShare is the part of the machine's memory that all running
	// queries may hold, as 1 divided by it.
	QueryMemoryShare = 2

	// RelayConnections is how many connections the relay carries.
	RelayConnections = 1024
	// EgressConnections is how many connections of the enclave's the parent
	// carries to other hosts.
	EgressConnections = 64
	// HostConnections is how many connections of the enclave's the parent's
	// host service holds, and HostRequests how many requests it serves on all
	// of them.
	HostConnections = 16
	HostRequests    = 64
	// Heartbeats is how many boot heartbeats the parent answers.
	Heartbeats = 4
	// AdminConnections is how many connections the parent's admin listener holds.
	AdminConnections = 16
)

// How long those wait who may, and when those come again who may not.
const (
	// GatewayReceive bounds how long an envelope comes in from its producer.
	GatewayReceive = 2 * time.Minute
	// Reading bounds how long the message of any other request comes in.
	Reading = 20 * time.Second
	// IntakeWait is how long an envelope waits in the enclave for its turn.
	IntakeWait = 8 * time.Second
	// QueryWait is how long a query waits for its turn.
	QueryWait = 10 * time.Second
	// Retry is the hint to those who don't get in.
	Retry = time.Second
)
