package server

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
)

// Datasets have no keys that a query could use, so every list of keys is empty.

// GetFlightInfoPrimaryKeys answers the ticket of an empty list.
func (q *queries) GetFlightInfoPrimaryKeys(_ context.Context, _ flightsql.TableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.PrimaryKeys, desc.GetCmd()), nil
}

// DoGetPrimaryKeys answers an empty list.
func (q *queries) DoGetPrimaryKeys(context.Context, flightsql.TableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.PrimaryKeys, func(*array.RecordBuilder) {})
}

// GetFlightInfoExportedKeys answers the ticket of an empty list.
func (q *queries) GetFlightInfoExportedKeys(_ context.Context, _ flightsql.TableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.ExportedKeys, desc.GetCmd()), nil
}

// DoGetExportedKeys answers an empty list.
func (q *queries) DoGetExportedKeys(context.Context, flightsql.TableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.ExportedKeys, func(*array.RecordBuilder) {})
}

// GetFlightInfoImportedKeys answers the ticket of an empty list.
func (q *queries) GetFlightInfoImportedKeys(_ context.Context, _ flightsql.TableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.ImportedKeys, desc.GetCmd()), nil
}

// DoGetImportedKeys answers an empty list.
func (q *queries) DoGetImportedKeys(context.Context, flightsql.TableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.ImportedKeys, func(*array.RecordBuilder) {})
}

// GetFlightInfoCrossReference answers the ticket of an empty list.
func (q *queries) GetFlightInfoCrossReference(_ context.Context, _ flightsql.CrossTableRef, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.CrossReference, desc.GetCmd()), nil
}

// DoGetCrossReference answers an empty list.
func (q *queries) DoGetCrossReference(context.Context, flightsql.CrossTableRef) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.CrossReference, func(*array.RecordBuilder) {})
}
