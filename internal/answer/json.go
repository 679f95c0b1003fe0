package answer

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// schema names the JSON form, its version included.
const schema = "cloister.query/v1"

// exactInteger is the largest integer that every JSON reader keeps exactly
// (RFC 8259 section 6: the range of a double's significand).
const exactInteger = 1 << 53

type jsonAnswer struct {
	Schema     string       `json:"schema"`
	Mode       string       `json:"mode"`
	Protected  bool         `json:"protected_against_differencing"`
	Dataset    string       `json:"dataset"`
	Snapshot   uint64       `json:"snapshot"`
	Floor      int          `json:"floor"`
	Columns    []jsonColumn `json:"columns"`
	Rows       [][]any      `json:"rows"`
	Suppressed bool         `json:"suppressed,omitempty"`
	AuditID    string       `json:"audit_id"`
	Genesis    string       `json:"genesis"`
	Manifest   uint64       `json:"manifest"`
	Signature  string       `json:"signature"`
}

type jsonColumn struct {
	Name  string `json:"name"`
	Type  Type   `json:"type"`
	Scale *int   `json:"scale,omitempty"`
}

// JSON writes the answer in the form cloister.query/v1, on one line: int64 as
// numbers up to 2^53 and as strings beyond, decimals as strings, dates and
// timestamps as Column.Format writes them, NULL as null, the genesis in hex
// and the signature in base64. It fails with ErrShape.
func (a *Answer) JSON(signature []byte) ([]byte, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	out := jsonAnswer{
		Schema: schema, Mode: a.Mode, Protected: a.Protected, Dataset: a.Dataset, Snapshot: a.Snapshot, Floor: a.Floor,
		Columns: make([]jsonColumn, len(a.Columns)), Rows: make([][]any, len(a.Rows)), Suppressed: a.Suppressed,
		AuditID: a.AuditID, Genesis: hex.EncodeToString(a.Genesis[:]), Manifest: a.Manifest,
		Signature: base64.StdEncoding.EncodeToString(signature),
	}
	for i, c := range a.Columns {
		out.Columns[i] = jsonColumn{Name: c.Name, Type: c.Type}
		if c.Type == Decimal {
			out.Columns[i].Scale = &a.Columns[i].Scale
		}
	}
	for i, row := range a.Rows {
		out.Rows[i] = make([]any, len(row))
		for j, cell := range row {
			out.Rows[i][j] = a.Columns[j].json(cell)
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// json answers a cell as encoding/json shall write it.
func (c Column) json(cell Cell) any {
	switch {
	case cell.Null:
		return nil
	case c.Type == Boolean:
		return cell.Int != 0
	case c.Type == Int64 && -exactInteger <= cell.Int && cell.Int <= exactInteger:
		return cell.Int
	default:
		return c.Format(cell)
	}
}
