package odcs

import (
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// The versions of the standard that are read.
const (
	v300 = "v3.0.0"
	v301 = "v3.0.1"
	v302 = "v3.0.2"
	v310 = "v3.1.0"
)

// The keys of the standard, from its JSON schemas for v3.0.0 to v3.1.0. Those
// that say nothing about values or privacy are accepted and ignored, so that a
// contract written for other tools loads.
var (
	documentKeys    = []string{"apiVersion", "kind", "id", "name", "version", "status", "description", "schema"}
	documentIgnored = []string{
		"authoritativeDefinitions", "contractCreatedTs", "customProperties", "dataProduct", "domain", "price", "roles", "servers",
		"slaDefaultElement", "slaProperties", "support", "tags", "team", "tenant", "type",
	}

	descriptionKeys    = []string{"purpose"}
	descriptionIgnored = []string{"usage", "limitations", "authoritativeDefinitions", "customProperties", "id"}

	objectKeys    = []string{"name", "logicalType", "description", "customProperties", "properties"}
	objectIgnored = []string{
		"authoritativeDefinitions", "businessName", "dataGranularityDescription", "id", "physicalName", "physicalType", "quality",
		"relationships", "tags",
	}

	columnKeys    = []string{"name", "logicalType", "logicalTypeOptions", "required", "description", "customProperties"}
	columnIgnored = []string{
		"authoritativeDefinitions", "businessName", "classification", "criticalDataElement", "encryptedName", "examples", "id",
		"partitionKeyPosition", "partitioned", "physicalName", "physicalType", "primaryKey", "primaryKeyPosition", "quality",
		"relationships", "tags", "transformDescription", "transformLogic", "transformSourceObjects", "unique",
	}

	customKeys    = []string{"property", "value"}
	customIgnored = []string{"description", "id"}
)

// The custom properties that are Cloister's.
const (
	propertyFloor = "cloister.floor"
	propertyMode  = "cloister.mode"
	propertyRole  = "cloister.role"
	propertyScale = "cloister.scale"
	propertyEnum  = "cloister.enum"
)

// Where each custom property belongs.
var (
	ofDataset = []string{propertyFloor, propertyMode}
	ofColumn  = []string{propertyRole, propertyScale, propertyEnum}
)

// optionKeys answers the keys of logicalTypeOptions for a type. One that isn't
// here is refused: ignoring a rule would accept what the contract forbids.
func optionKeys(t contract.Type) []string {
	bounds := []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"}
	switch t {
	case contract.String:
		return []string{"minLength", "maxLength", "pattern", "format"}
	case contract.Integer, contract.Number:
		return append(bounds, "multipleOf")
	case contract.Date:
		return bounds
	case contract.Timestamp:
		return append(bounds, "timezone", "defaultTimezone")
	}
	return nil
}

// typeNames are the logical types that a column may have.
func typeNames() []string {
	var names []string
	for t := contract.String; t <= contract.Timestamp; t++ {
		names = append(names, t.String())
	}
	return names
}

// roleNames are the roles that a column may have.
func roleNames() []string {
	var names []string
	for r := contract.Hidden; r <= contract.Restricted; r++ {
		names = append(names, r.String())
	}
	return names
}

func both(read, ignored []string) []string { return slices.Concat(read, ignored) }
