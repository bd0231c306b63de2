// Behavioural models of the primitives of Xilinx devices that the modules beside this file use, for simulators and linters.
// Synthesis tools have their own: leave this file out there, or UNFLOAT_MODELS undefined.
/* verilator lint_off DECLFILENAME */
`ifdef UNFLOAT_MODELS
module LUT1 #(parameter [1:0] INIT = 2'h0) (output wire O, input wire I0);
  assign O = INIT[I0];
endmodule

module LUT2 #(parameter [3:0] INIT = 4'h0) (output wire O, input wire I0, input wire I1);
  assign O = INIT[{I1, I0}];
endmodule

module LUT3 #(parameter [7:0] INIT = 8'h0) (output wire O, input wire I0, input wire I1, input wire I2);
  assign O = INIT[{I2, I1, I0}];
endmodule

module LUT4 #(parameter [15:0] INIT = 16'h0) (
  output wire O, input wire I0, input wire I1, input wire I2, input wire I3
);
  assign O = INIT[{I3, I2, I1, I0}];
endmodule

module LUT5 #(parameter [31:0] INIT = 32'h0) (
  output wire O, input wire I0, input wire I1, input wire I2, input wire I3, input wire I4
);
  assign O = INIT[{I4, I3, I2, I1, I0}];
endmodule

module LUT6 #(parameter [63:0] INIT = 64'h0) (
  output wire O, input wire I0, input wire I1, input wire I2, input wire I3, input wire I4, input wire I5
);
  assign O = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule

module LUT6_2 #(parameter [63:0] INIT = 64'h0) (
  output wire O6, output wire O5,
  input wire I0, input wire I1, input wire I2, input wire I3, input wire I4, input wire I5
);
  assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
  assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
endmodule

module CARRY4 (
  output wire [3:0] CO, output wire [3:0] O,
  input wire CI, input wire CYINIT, input wire [3:0] DI, input wire [3:0] S
);
  wire c0 = CI | CYINIT;
  wire c1 = S[0] ? c0 : DI[0];
  wire c2 = S[1] ? c1 : DI[1];
  wire c3 = S[2] ? c2 : DI[2];
  wire c4 = S[3] ? c3 : DI[3];
  assign O = S ^ {c3, c2, c1, c0};
  assign CO = {c4, c3, c2, c1};
endmodule
`endif
