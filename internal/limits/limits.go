// Package limits names the bounds that several packages and both sides of the
// vsock share. Every bound is checked before the allocation that it limits.
package limits

const (
	// Envelope is the largest sealed envelope, in bytes.
	Envelope = 16 << 20
	// EnvelopeHeader is the largest envelope header, in bytes.
	EnvelopeHeader = 8 << 10
	// BatchRows is the largest number of records in one envelope.
	BatchRows = 64 << 10
	// Columns is the largest number of columns in a contract or a record.
	Columns = 1024
	// Cells is the largest number of cells in packed columns: records times
	// columns.
	Cells = 4 << 20
	// Text is the longest text value of a record, in bytes.
	Text = 64 << 10
	// Bundle is the largest bundle, in bytes. With the largest document it fits
	// into Evidence.
	Bundle = 3 << 20
	// Object is the largest object the parent stores, in bytes.
	Object = Envelope
	// ObjectName is the longest object name, in bytes.
	ObjectName = 256
	// Message is the largest gRPC message on the vsock: one envelope and its frame.
	Message = Envelope + 64<<10
	// Query is the longest query text, in bytes.
	Query = 64 << 10
	// Token is the longest bearer token, in bytes.
	Token = 16 << 10
	// EvidenceRequest is the largest client message of the attls exchange, in bytes.
	EvidenceRequest = 4 << 10
	// Evidence is the largest server message of the attls exchange, in bytes:
	// a document, a bundle and three short values.
	Evidence = 4 << 20
	// Document is the largest attestation document, in bytes.
	Document = 32 << 10
)
