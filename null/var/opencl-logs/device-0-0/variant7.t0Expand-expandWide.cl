extern "C" __global__ void expandWide(long long *_kernel_context, unsigned char *_constant_region, unsigned char *_local_region, int *_atomics, unsigned char *sizes, unsigned char *sortedTokenIds, unsigned char *expertIds, unsigned char *adapterIds, unsigned char *b, unsigned char *z, unsigned char *y)
{
  float f_586, f_587, f_584, f_582, f_583, f_580, f_581, f_578, f_576, f_832, f_577, f_833, f_574, f_830, f_575, f_831, f_572, f_602, f_600, f_601, f_598, f_599, f_596, f_594, f_595, f_592, f_593, f_590, f_588, f_589, f_614, f_612, f_613, f_610, f_611, f_608, f_606, f_607, f_604, f_605, f_622, f_623, f_620, f_621, f_522, f_523, f_520, f_521, f_518, f_519, f_772, f_517, f_773, f_770, f_515, f_771, f_511, f_538, f_539, f_536, f_537, f_534, f_535, f_532, f_533, f_530, f_531, f_528, f_529, f_526, f_527, f_524, f_525, f_553, f_548, f_546, f_802, f_547, f_803, f_544, f_800, f_545, f_801, f_542, f_543, f_540, f_541, f_571, f_566, f_567, f_562, f_561, f_556, f_557, f_458, f_712, f_713, f_710, f_455, f_711, f_451, f_447, f_473, f_470, f_466, f_462, f_488, f_742, f_743, f_740, f_485, f_741, f_481, f_477, f_507, f_503, f_500, f_496, f_492, f_394, f_650, f_651, f_391, f_410, f_406, f_402, f_398, f_652, f_653, f_682, f_683, f_680, f_425, f_681, f_421, f_417, f_413, f_443, f_440, f_436, f_432, f_428; 
  bool b_392, b_648, b_647, b_618, b_393, b_617, b_768, b_767, b_738, b_737, b_708, b_707, b_678, b_677, b_828, b_827, b_798, b_797; 
  unsigned long long ul_350, ul_91, ul_215, ul_343, ul_82, ul_208, ul_718, ul_331, ul_73, ul_199, ul_838, ul_324, ul_190, ul_312, ul_181, ul_305, ul_688, ul_172, ul_41, ul_808, ul_39, ul_37, ul_293, ul_35, ul_163, ul_33, ul_31, ul_286, ul_154, ul_18, ul_274, ul_658, ul_145, ul_267, ul_778, ul_136, ul_6, ul_390, ul_5, ul_4, ul_3, ul_2, ul_1, ul_385, ul_0, ul_127, ul_255, ul_379, ul_378, ul_248, ul_375, ul_118, ul_628, ul_109, ul_236, ul_748, ul_362, ul_229, ul_100; 
  int i_386, i_132, i_376, i_377, i_123, i_654, i_401, i_405, i_395, i_141, i_397, i_159, i_416, i_420, i_150, i_409, i_412, i_431, i_177, i_435, i_168, i_424, i_427, i_684, i_320, i_834, i_579, i_69, i_313, i_570, i_573, i_78, i_591, i_339, i_597, i_327, i_585, i_332, i_351, i_96, i_609, i_87, i_346, i_603, i_366, i_367, i_368, i_624, i_114, i_371, i_358, i_615, i_105, i_364, i_365, i_510, i_256, i_514, i_516, i_502, i_506, i_251, i_270, i_19, i_275, i_20, i_774, i_263, i_32, i_289, i_34, i_36, i_804, i_282, i_27, i_560, i_308, i_565, i_38, i_294, i_40, i_42, i_43, i_555, i_301, i_446, i_450, i_195, i_439, i_186, i_442, i_465, i_211, i_469, i_454, i_457, i_714, i_204, i_461, i_480, i_225, i_484, i_216, i_472, i_476, i_495, i_499, i_244, i_487, i_232, i_744, i_491, i_237; 
  long long l_504, l_508, l_493, l_497, l_489, l_478, l_482, l_474, l_463, l_467, l_459, l_448, l_452, l_437, l_444, l_429, l_433, l_422, l_414, l_418, l_407, l_399, l_403, l_389, l_384, l_383, l_382, l_381, l_388, l_387, l_631, l_630, l_636, l_635, l_634, l_633, l_627, l_626, l_625, l_616, l_619, l_568, l_558, l_563, l_552, l_551, l_550, l_549, l_512, l_760, l_759, l_758, l_764, l_763, l_761, l_751, l_750, l_756, l_755, l_754, l_753, l_747, l_746, l_745, l_736, l_735, l_734, l_733, l_739, l_728, l_726, l_725, l_731, l_730, l_729, l_720, l_717, l_724, l_723, l_721, l_709, l_716, l_715, l_704, l_703, l_701, l_706, l_705, l_696, l_695, l_694, l_693, l_700, l_699, l_698, l_687, l_686, l_685, l_691, l_690, l_679, l_671, l_670, l_669, l_676, l_675, l_674, l_673, l_664, l_663, l_661, l_668, l_666, l_665, l_656, l_655, l_660, l_657, l_646, l_645, l_649, l_640, l_639, l_638, l_644, l_643, l_641, l_855, l_854, l_853, l_848, l_846, l_845, l_851, l_850, l_849, l_840, l_837, l_844, l_843, l_841, l_829, l_836, l_835, l_824, l_823, l_821, l_826, l_825, l_816, l_815, l_814, l_813, l_820, l_819, l_818, l_807, l_806, l_805, l_811, l_810, l_799, l_791, l_790, l_789, l_796, l_795, l_794, l_793, l_784, l_783, l_781, l_788, l_786, l_785, l_776, l_775, l_780, l_777, l_766, l_765, l_769, l_120, l_119, l_117, l_124, l_122, l_121, l_112, l_111, l_110, l_116, l_115, l_113, l_104, l_103, l_102, l_101, l_108, l_107, l_106, l_95, l_94, l_93, l_99, l_98, l_97, l_88, l_86, l_85, l_92, l_90, l_89, l_80, l_79, l_77, l_84, l_83, l_81, l_72, l_71, l_70, l_76, l_75, l_74, l_64, l_63, l_62, l_61, l_68, l_67, l_66, l_65, l_56, l_55, l_54, l_53, l_60, l_59, l_58, l_57, l_48, l_47, l_46, l_45, l_52, l_51, l_50, l_49, l_44, l_30, l_29, l_24, l_23, l_22, l_21, l_28, l_26, l_25, l_247, l_246, l_245, l_252, l_250, l_249, l_240, l_239, l_238, l_243, l_242, l_241, l_231, l_230, l_235, l_234, l_233, l_224, l_223, l_222, l_221, l_228, l_227, l_226, l_214, l_213, l_220, l_219, l_218, l_217, l_207, l_206, l_205, l_212, l_210, l_209, l_200, l_198, l_197, l_203, l_202, l_201, l_192, l_191, l_189, l_196, l_194, l_193, l_184, l_183, l_182, l_188, l_187, l_185, l_176, l_175, l_174, l_173, l_180, l_179, l_178, l_167, l_166, l_165, l_171, l_170, l_169, l_160, l_158, l_157, l_164, l_162, l_161, l_152, l_151, l_149, l_156, l_155, l_153, l_144, l_143, l_142, l_148, l_147, l_146, l_135, l_134, l_133, l_140, l_139, l_138, l_137, l_128, l_126, l_125, l_131, l_130, l_129, l_374, l_373, l_380, l_372, l_370, l_369, l_360, l_359, l_357, l_363, l_361, l_352, l_349, l_356, l_355, l_354, l_353, l_344, l_342, l_341, l_348, l_347, l_345, l_336, l_335, l_334, l_333, l_340, l_338, l_337, l_328, l_326, l_325, l_330, l_329, l_319, l_318, l_317, l_323, l_322, l_321, l_311, l_310, l_309, l_316, l_315, l_314, l_304, l_303, l_302, l_307, l_306, l_296, l_295, l_300, l_299, l_298, l_297, l_288, l_287, l_285, l_292, l_291, l_290, l_280, l_279, l_278, l_277, l_284, l_283, l_281, l_272, l_271, l_269, l_276, l_273, l_264, l_262, l_261, l_268, l_266, l_265, l_254, l_253, l_260, l_259, l_258, l_257; 
  short sh_505, sh_632, sh_498, sh_501, sh_629, sh_757, sh_494, sh_752, sh_490, sh_749, sh_642, sh_513, sh_762, sh_509, sh_637, sh_662, sh_408, sh_792, sh_659, sh_787, sh_404, sh_782, sh_400, sh_779, sh_396, sh_423, sh_809, sh_419, sh_415, sh_672, sh_411, sh_667, sh_438, sh_441, sh_569, sh_697, sh_822, sh_434, sh_564, sh_692, sh_559, sh_430, sh_817, sh_689, sh_812, sh_426, sh_554, sh_456, sh_839, sh_453, sh_702, sh_449, sh_445, sh_471, sh_727, sh_852, sh_722, sh_468, sh_719, sh_464, sh_847, sh_842, sh_460, sh_486, sh_483, sh_479, sh_475, sh_732; 

  // BLOCK 0
  ul_0  =  (unsigned long long) sizes;
  ul_1  =  (unsigned long long) sortedTokenIds;
  ul_2  =  (unsigned long long) expertIds;
  ul_3  =  (unsigned long long) adapterIds;
  ul_4  =  (unsigned long long) b;
  ul_5  =  (unsigned long long) z;
  ul_6  =  (unsigned long long) y;
  long ul_7[16];
  long* ul_8 = ul_7;
  long ul_9[8];
  long* ul_10 = ul_9;
  long ul_11[8];
  long* ul_12 = ul_11;
  long ul_13[8];
  long* ul_14 = ul_13;
  __shared__ float adf_15[128];
  float ul_16[32];
  float* ul_17 = ul_16;
  ul_18  =  ul_0 + 44L;
  i_19  =  *(( int *) ul_18);
  i_20  =  (blockIdx.x);
  l_21  =  (long long) i_20;
  l_22  =  (long long) i_19;
  l_23  =  l_21 / l_22;
  l_24  =  l_23 >> 63;
  l_25  =  l_24 + l_23;
  l_26  =  l_25 >> 1;
  i_27  =  (int) l_26;
  l_28  =  (long long) i_27;
  l_29  =  l_28 + 4L;
  l_30  =  l_29 << 2;
  ul_31  =  ul_3 + l_30;
  i_32  =  *(( int *) ul_31);
  ul_33  =  ul_2 + l_30;
  i_34  =  *(( int *) ul_33);
  ul_35  =  ul_0 + 32L;
  i_36  =  *(( int *) ul_35);
  ul_37  =  ul_0 + 20L;
  i_38  =  *(( int *) ul_37);
  ul_39  =  ul_0 + 24L;
  i_40  =  *(( int *) ul_39);
  ul_41  =  ul_0 + 36L;
  i_42  =  *(( int *) ul_41);
  i_43  =  (threadIdx.x);
  l_44  =  (long long) i_43;
  l_45  =  l_22 * l_23;
  l_46  =  l_21 - l_45;
  l_47  =  l_46 << 6;
  l_48  =  l_44 + l_47;
  l_49  =  (long long) i_38;
  l_50  =  l_49 + -1L;
  l_51  =  min(l_48, l_50);
  l_52  =  (long long) i_40;
  l_53  =  l_25 & -2L;
  l_54  =  l_23 - l_53;
  l_55  =  (long long) i_34;
  l_56  =  (long long) i_32;
  l_57  =  (long long) i_36;
  l_58  =  l_56 * l_57;
  l_59  =  l_55 + l_58;
  l_60  =  l_59 << 1;
  l_61  =  l_54 + l_60;
  l_62  =  l_52 * l_61;
  l_63  =  l_62 * l_49;
  l_64  =  l_51 + l_63;
  l_65  =  l_52 + -1L;
  l_66  =  min(0L, l_65);
  l_67  =  l_66 * l_49;
  l_68  =  l_64 + l_67;
  i_69  =  (int) l_68;
  l_70  =  (long long) i_69;
  l_71  =  l_70 + 2L;
  l_72  =  l_71 << 3;
  ul_73  =  ul_4 + l_72;
  l_74  =  *(( long long *) ul_73);
  ul_8[0]  =  l_74;
  l_75  =  min(1L, l_65);
  l_76  =  l_75 * l_49;
  l_77  =  l_76 + l_64;
  i_78  =  (int) l_77;
  l_79  =  (long long) i_78;
  l_80  =  l_79 + 2L;
  l_81  =  l_80 << 3;
  ul_82  =  ul_4 + l_81;
  l_83  =  *(( long long *) ul_82);
  ul_8[1]  =  l_83;
  l_84  =  min(2L, l_65);
  l_85  =  l_84 * l_49;
  l_86  =  l_85 + l_64;
  i_87  =  (int) l_86;
  l_88  =  (long long) i_87;
  l_89  =  l_88 + 2L;
  l_90  =  l_89 << 3;
  ul_91  =  ul_4 + l_90;
  l_92  =  *(( long long *) ul_91);
  ul_8[2]  =  l_92;
  l_93  =  min(3L, l_65);
  l_94  =  l_93 * l_49;
  l_95  =  l_94 + l_64;
  i_96  =  (int) l_95;
  l_97  =  (long long) i_96;
  l_98  =  l_97 + 2L;
  l_99  =  l_98 << 3;
  ul_100  =  ul_4 + l_99;
  l_101  =  *(( long long *) ul_100);
  ul_8[3]  =  l_101;
  l_102  =  min(4L, l_65);
  l_103  =  l_102 * l_49;
  l_104  =  l_103 + l_64;
  i_105  =  (int) l_104;
  l_106  =  (long long) i_105;
  l_107  =  l_106 + 2L;
  l_108  =  l_107 << 3;
  ul_109  =  ul_4 + l_108;
  l_110  =  *(( long long *) ul_109);
  ul_8[4]  =  l_110;
  l_111  =  min(5L, l_65);
  l_112  =  l_111 * l_49;
  l_113  =  l_112 + l_64;
  i_114  =  (int) l_113;
  l_115  =  (long long) i_114;
  l_116  =  l_115 + 2L;
  l_117  =  l_116 << 3;
  ul_118  =  ul_4 + l_117;
  l_119  =  *(( long long *) ul_118);
  ul_8[5]  =  l_119;
  l_120  =  min(6L, l_65);
  l_121  =  l_120 * l_49;
  l_122  =  l_121 + l_64;
  i_123  =  (int) l_122;
  l_124  =  (long long) i_123;
  l_125  =  l_124 + 2L;
  l_126  =  l_125 << 3;
  ul_127  =  ul_4 + l_126;
  l_128  =  *(( long long *) ul_127);
  ul_8[6]  =  l_128;
  l_129  =  min(7L, l_65);
  l_130  =  l_129 * l_49;
  l_131  =  l_130 + l_64;
  i_132  =  (int) l_131;
  l_133  =  (long long) i_132;
  l_134  =  l_133 + 2L;
  l_135  =  l_134 << 3;
  ul_136  =  ul_4 + l_135;
  l_137  =  *(( long long *) ul_136);
  ul_8[7]  =  l_137;
  l_138  =  min(8L, l_65);
  l_139  =  l_138 * l_49;
  l_140  =  l_139 + l_64;
  i_141  =  (int) l_140;
  l_142  =  (long long) i_141;
  l_143  =  l_142 + 2L;
  l_144  =  l_143 << 3;
  ul_145  =  ul_4 + l_144;
  l_146  =  *(( long long *) ul_145);
  ul_8[8]  =  l_146;
  l_147  =  min(9L, l_65);
  l_148  =  l_147 * l_49;
  l_149  =  l_148 + l_64;
  i_150  =  (int) l_149;
  l_151  =  (long long) i_150;
  l_152  =  l_151 + 2L;
  l_153  =  l_152 << 3;
  ul_154  =  ul_4 + l_153;
  l_155  =  *(( long long *) ul_154);
  ul_8[9]  =  l_155;
  l_156  =  min(10L, l_65);
  l_157  =  l_156 * l_49;
  l_158  =  l_157 + l_64;
  i_159  =  (int) l_158;
  l_160  =  (long long) i_159;
  l_161  =  l_160 + 2L;
  l_162  =  l_161 << 3;
  ul_163  =  ul_4 + l_162;
  l_164  =  *(( long long *) ul_163);
  ul_8[10]  =  l_164;
  l_165  =  min(11L, l_65);
  l_166  =  l_165 * l_49;
  l_167  =  l_166 + l_64;
  i_168  =  (int) l_167;
  l_169  =  (long long) i_168;
  l_170  =  l_169 + 2L;
  l_171  =  l_170 << 3;
  ul_172  =  ul_4 + l_171;
  l_173  =  *(( long long *) ul_172);
  ul_8[11]  =  l_173;
  l_174  =  min(12L, l_65);
  l_175  =  l_174 * l_49;
  l_176  =  l_175 + l_64;
  i_177  =  (int) l_176;
  l_178  =  (long long) i_177;
  l_179  =  l_178 + 2L;
  l_180  =  l_179 << 3;
  ul_181  =  ul_4 + l_180;
  l_182  =  *(( long long *) ul_181);
  ul_8[12]  =  l_182;
  l_183  =  min(13L, l_65);
  l_184  =  l_183 * l_49;
  l_185  =  l_184 + l_64;
  i_186  =  (int) l_185;
  l_187  =  (long long) i_186;
  l_188  =  l_187 + 2L;
  l_189  =  l_188 << 3;
  ul_190  =  ul_4 + l_189;
  l_191  =  *(( long long *) ul_190);
  ul_8[13]  =  l_191;
  l_192  =  min(14L, l_65);
  l_193  =  l_192 * l_49;
  l_194  =  l_193 + l_64;
  i_195  =  (int) l_194;
  l_196  =  (long long) i_195;
  l_197  =  l_196 + 2L;
  l_198  =  l_197 << 3;
  ul_199  =  ul_4 + l_198;
  l_200  =  *(( long long *) ul_199);
  ul_8[14]  =  l_200;
  l_201  =  min(15L, l_65);
  l_202  =  l_201 * l_49;
  l_203  =  l_202 + l_64;
  i_204  =  (int) l_203;
  l_205  =  (long long) i_204;
  l_206  =  l_205 + 2L;
  l_207  =  l_206 << 3;
  ul_208  =  ul_4 + l_207;
  l_209  =  *(( long long *) ul_208);
  ul_8[15]  =  l_209;
  l_210  =  l_26 << 3;
  i_211  =  (int) l_210;
  l_212  =  (long long) i_211;
  l_213  =  l_212 + 4L;
  l_214  =  l_213 << 2;
  ul_215  =  ul_1 + l_214;
  i_216  =  *(( int *) ul_215);
  l_217  =  (long long) i_216;
  ul_10[0]  =  l_217;
  l_218  =  (long long) i_42;
  l_219  =  l_218 + -1L;
  l_220  =  min(l_217, l_219);
  l_221  =  l_220 << 1;
  l_222  =  l_221 + l_54;
  l_223  =  l_222 * l_49;
  l_224  =  l_223 + l_51;
  ul_12[0]  =  l_224;
  i_225  =  (int) l_224;
  l_226  =  (long long) i_225;
  l_227  =  l_226 + 2L;
  l_228  =  l_227 << 3;
  ul_229  =  ul_6 + l_228;
  l_230  =  *(( long long *) ul_229);
  ul_14[0]  =  l_230;
  l_231  =  l_210 + 1L;
  i_232  =  (int) l_231;
  l_233  =  (long long) i_232;
  l_234  =  l_233 + 4L;
  l_235  =  l_234 << 2;
  ul_236  =  ul_1 + l_235;
  i_237  =  *(( int *) ul_236);
  l_238  =  (long long) i_237;
  ul_10[1]  =  l_238;
  l_239  =  min(l_238, l_219);
  l_240  =  l_239 << 1;
  l_241  =  l_240 + l_54;
  l_242  =  l_241 * l_49;
  l_243  =  l_242 + l_51;
  ul_12[1]  =  l_243;
  i_244  =  (int) l_243;
  l_245  =  (long long) i_244;
  l_246  =  l_245 + 2L;
  l_247  =  l_246 << 3;
  ul_248  =  ul_6 + l_247;
  l_249  =  *(( long long *) ul_248);
  ul_14[1]  =  l_249;
  l_250  =  l_210 + 2L;
  i_251  =  (int) l_250;
  l_252  =  (long long) i_251;
  l_253  =  l_252 + 4L;
  l_254  =  l_253 << 2;
  ul_255  =  ul_1 + l_254;
  i_256  =  *(( int *) ul_255);
  l_257  =  (long long) i_256;
  ul_10[2]  =  l_257;
  l_258  =  min(l_257, l_219);
  l_259  =  l_258 << 1;
  l_260  =  l_259 + l_54;
  l_261  =  l_260 * l_49;
  l_262  =  l_261 + l_51;
  ul_12[2]  =  l_262;
  i_263  =  (int) l_262;
  l_264  =  (long long) i_263;
  l_265  =  l_264 + 2L;
  l_266  =  l_265 << 3;
  ul_267  =  ul_6 + l_266;
  l_268  =  *(( long long *) ul_267);
  ul_14[2]  =  l_268;
  l_269  =  l_210 + 3L;
  i_270  =  (int) l_269;
  l_271  =  (long long) i_270;
  l_272  =  l_271 + 4L;
  l_273  =  l_272 << 2;
  ul_274  =  ul_1 + l_273;
  i_275  =  *(( int *) ul_274);
  l_276  =  (long long) i_275;
  ul_10[3]  =  l_276;
  l_277  =  min(l_276, l_219);
  l_278  =  l_277 << 1;
  l_279  =  l_278 + l_54;
  l_280  =  l_279 * l_49;
  l_281  =  l_280 + l_51;
  ul_12[3]  =  l_281;
  i_282  =  (int) l_281;
  l_283  =  (long long) i_282;
  l_284  =  l_283 + 2L;
  l_285  =  l_284 << 3;
  ul_286  =  ul_6 + l_285;
  l_287  =  *(( long long *) ul_286);
  ul_14[3]  =  l_287;
  l_288  =  l_210 + 4L;
  i_289  =  (int) l_288;
  l_290  =  (long long) i_289;
  l_291  =  l_290 + 4L;
  l_292  =  l_291 << 2;
  ul_293  =  ul_1 + l_292;
  i_294  =  *(( int *) ul_293);
  l_295  =  (long long) i_294;
  ul_10[4]  =  l_295;
  l_296  =  min(l_295, l_219);
  l_297  =  l_296 << 1;
  l_298  =  l_297 + l_54;
  l_299  =  l_298 * l_49;
  l_300  =  l_299 + l_51;
  ul_12[4]  =  l_300;
  i_301  =  (int) l_300;
  l_302  =  (long long) i_301;
  l_303  =  l_302 + 2L;
  l_304  =  l_303 << 3;
  ul_305  =  ul_6 + l_304;
  l_306  =  *(( long long *) ul_305);
  ul_14[4]  =  l_306;
  l_307  =  l_210 + 5L;
  i_308  =  (int) l_307;
  l_309  =  (long long) i_308;
  l_310  =  l_309 + 4L;
  l_311  =  l_310 << 2;
  ul_312  =  ul_1 + l_311;
  i_313  =  *(( int *) ul_312);
  l_314  =  (long long) i_313;
  ul_10[5]  =  l_314;
  l_315  =  min(l_314, l_219);
  l_316  =  l_315 << 1;
  l_317  =  l_316 + l_54;
  l_318  =  l_317 * l_49;
  l_319  =  l_318 + l_51;
  ul_12[5]  =  l_319;
  i_320  =  (int) l_319;
  l_321  =  (long long) i_320;
  l_322  =  l_321 + 2L;
  l_323  =  l_322 << 3;
  ul_324  =  ul_6 + l_323;
  l_325  =  *(( long long *) ul_324);
  ul_14[5]  =  l_325;
  l_326  =  l_210 + 6L;
  i_327  =  (int) l_326;
  l_328  =  (long long) i_327;
  l_329  =  l_328 + 4L;
  l_330  =  l_329 << 2;
  ul_331  =  ul_1 + l_330;
  i_332  =  *(( int *) ul_331);
  l_333  =  (long long) i_332;
  ul_10[6]  =  l_333;
  l_334  =  min(l_333, l_219);
  l_335  =  l_334 << 1;
  l_336  =  l_335 + l_54;
  l_337  =  l_336 * l_49;
  l_338  =  l_337 + l_51;
  ul_12[6]  =  l_338;
  i_339  =  (int) l_338;
  l_340  =  (long long) i_339;
  l_341  =  l_340 + 2L;
  l_342  =  l_341 << 3;
  ul_343  =  ul_6 + l_342;
  l_344  =  *(( long long *) ul_343);
  ul_14[6]  =  l_344;
  l_345  =  l_210 + 7L;
  i_346  =  (int) l_345;
  l_347  =  (long long) i_346;
  l_348  =  l_347 + 4L;
  l_349  =  l_348 << 2;
  ul_350  =  ul_1 + l_349;
  i_351  =  *(( int *) ul_350);
  l_352  =  (long long) i_351;
  ul_10[7]  =  l_352;
  l_353  =  min(l_352, l_219);
  l_354  =  l_353 << 1;
  l_355  =  l_354 + l_54;
  l_356  =  l_355 * l_49;
  l_357  =  l_356 + l_51;
  ul_12[7]  =  l_357;
  i_358  =  (int) l_357;
  l_359  =  (long long) i_358;
  l_360  =  l_359 + 2L;
  l_361  =  l_360 << 3;
  ul_362  =  ul_6 + l_361;
  l_363  =  *(( long long *) ul_362);
  ul_14[7]  =  l_363;
  // BLOCK 1 MERGES [0 7 ]
  i_364  =  i_43;
  for(;i_364 < 128;)
  {
    // BLOCK 2
    i_365  =  i_364 >> 31;
    i_366  =  i_365 >> 28;
    i_367  =  i_366 + i_364;
    i_368  =  i_367 >> 4;
    l_369  =  (long long) i_368;
    l_370  =  l_369 + l_210;
    i_371  =  (int) l_370;
    l_372  =  (long long) i_371;
    l_373  =  l_372 + 4L;
    l_374  =  l_373 << 2;
    ul_375  =  ul_1 + l_374;
    i_376  =  *(( int *) ul_375);
    i_377  =  i_364 & 15;
    ul_378  =  i_377 & 4294967295UL;
    ul_379  =  min(ul_378, l_65);
    l_380  =  (long long) i_376;
    l_381  =  min(l_380, l_219);
    l_382  =  l_381 << 1;
    l_383  =  l_382 + l_54;
    l_384  =  l_383 << 4;
    ul_385  =  ul_379 + l_384;
    i_386  =  (int) ul_385;
    l_387  =  (long long) i_386;
    l_388  =  l_387 + 4L;
    l_389  =  l_388 << 2;
    ul_390  =  ul_5 + l_389;
    f_391  =  *(( float *) ul_390);
    b_392  =  i_376 < i_42;
    if(b_392)
    {
      // BLOCK 3
      b_393  =  ul_378 < l_52;
      if(b_393)
      {
        // BLOCK 4
        f_394  =  f_391;
      }  // B3
      else
      {
        // BLOCK 5
        f_394  =  0.0F;
      }  // B3
    }  // B2
    else
    {
      // BLOCK 6
      f_394  =  0.0F;
    }  // B2
    // BLOCK 7 MERGES [4 6 5 ]
    adf_15[i_364]  =  f_394;
    i_395  =  i_364 + 64;
    i_364  =  i_395;
  }  // B1
  // BLOCK 8
  __syncthreads();
  sh_396  =  (short) l_230;
  i_397  =  (int) sh_396;
  f_398  =  __int_as_float(((int) (unsigned short) i_397) << 16);
  ul_17[0]  =  f_398;
  l_399  =  l_230 >> 16;
  sh_400  =  (short) l_399;
  i_401  =  (int) sh_400;
  f_402  =  __int_as_float(((int) (unsigned short) i_401) << 16);
  ul_17[1]  =  f_402;
  l_403  =  l_230 >> 32;
  sh_404  =  (short) l_403;
  i_405  =  (int) sh_404;
  f_406  =  __int_as_float(((int) (unsigned short) i_405) << 16);
  ul_17[2]  =  f_406;
  l_407  =  l_230 >> 48;
  sh_408  =  (short) l_407;
  i_409  =  (int) sh_408;
  f_410  =  __int_as_float(((int) (unsigned short) i_409) << 16);
  ul_17[3]  =  f_410;
  sh_411  =  (short) l_249;
  i_412  =  (int) sh_411;
  f_413  =  __int_as_float(((int) (unsigned short) i_412) << 16);
  ul_17[4]  =  f_413;
  l_414  =  l_249 >> 16;
  sh_415  =  (short) l_414;
  i_416  =  (int) sh_415;
  f_417  =  __int_as_float(((int) (unsigned short) i_416) << 16);
  ul_17[5]  =  f_417;
  l_418  =  l_249 >> 32;
  sh_419  =  (short) l_418;
  i_420  =  (int) sh_419;
  f_421  =  __int_as_float(((int) (unsigned short) i_420) << 16);
  ul_17[6]  =  f_421;
  l_422  =  l_249 >> 48;
  sh_423  =  (short) l_422;
  i_424  =  (int) sh_423;
  f_425  =  __int_as_float(((int) (unsigned short) i_424) << 16);
  ul_17[7]  =  f_425;
  sh_426  =  (short) l_268;
  i_427  =  (int) sh_426;
  f_428  =  __int_as_float(((int) (unsigned short) i_427) << 16);
  ul_17[8]  =  f_428;
  l_429  =  l_268 >> 16;
  sh_430  =  (short) l_429;
  i_431  =  (int) sh_430;
  f_432  =  __int_as_float(((int) (unsigned short) i_431) << 16);
  ul_17[9]  =  f_432;
  l_433  =  l_268 >> 32;
  sh_434  =  (short) l_433;
  i_435  =  (int) sh_434;
  f_436  =  __int_as_float(((int) (unsigned short) i_435) << 16);
  ul_17[10]  =  f_436;
  l_437  =  l_268 >> 48;
  sh_438  =  (short) l_437;
  i_439  =  (int) sh_438;
  f_440  =  __int_as_float(((int) (unsigned short) i_439) << 16);
  ul_17[11]  =  f_440;
  sh_441  =  (short) l_287;
  i_442  =  (int) sh_441;
  f_443  =  __int_as_float(((int) (unsigned short) i_442) << 16);
  ul_17[12]  =  f_443;
  l_444  =  l_287 >> 16;
  sh_445  =  (short) l_444;
  i_446  =  (int) sh_445;
  f_447  =  __int_as_float(((int) (unsigned short) i_446) << 16);
  ul_17[13]  =  f_447;
  l_448  =  l_287 >> 32;
  sh_449  =  (short) l_448;
  i_450  =  (int) sh_449;
  f_451  =  __int_as_float(((int) (unsigned short) i_450) << 16);
  ul_17[14]  =  f_451;
  l_452  =  l_287 >> 48;
  sh_453  =  (short) l_452;
  i_454  =  (int) sh_453;
  f_455  =  __int_as_float(((int) (unsigned short) i_454) << 16);
  ul_17[15]  =  f_455;
  sh_456  =  (short) l_306;
  i_457  =  (int) sh_456;
  f_458  =  __int_as_float(((int) (unsigned short) i_457) << 16);
  ul_17[16]  =  f_458;
  l_459  =  l_306 >> 16;
  sh_460  =  (short) l_459;
  i_461  =  (int) sh_460;
  f_462  =  __int_as_float(((int) (unsigned short) i_461) << 16);
  ul_17[17]  =  f_462;
  l_463  =  l_306 >> 32;
  sh_464  =  (short) l_463;
  i_465  =  (int) sh_464;
  f_466  =  __int_as_float(((int) (unsigned short) i_465) << 16);
  ul_17[18]  =  f_466;
  l_467  =  l_306 >> 48;
  sh_468  =  (short) l_467;
  i_469  =  (int) sh_468;
  f_470  =  __int_as_float(((int) (unsigned short) i_469) << 16);
  ul_17[19]  =  f_470;
  sh_471  =  (short) l_325;
  i_472  =  (int) sh_471;
  f_473  =  __int_as_float(((int) (unsigned short) i_472) << 16);
  ul_17[20]  =  f_473;
  l_474  =  l_325 >> 16;
  sh_475  =  (short) l_474;
  i_476  =  (int) sh_475;
  f_477  =  __int_as_float(((int) (unsigned short) i_476) << 16);
  ul_17[21]  =  f_477;
  l_478  =  l_325 >> 32;
  sh_479  =  (short) l_478;
  i_480  =  (int) sh_479;
  f_481  =  __int_as_float(((int) (unsigned short) i_480) << 16);
  ul_17[22]  =  f_481;
  l_482  =  l_325 >> 48;
  sh_483  =  (short) l_482;
  i_484  =  (int) sh_483;
  f_485  =  __int_as_float(((int) (unsigned short) i_484) << 16);
  ul_17[23]  =  f_485;
  sh_486  =  (short) l_344;
  i_487  =  (int) sh_486;
  f_488  =  __int_as_float(((int) (unsigned short) i_487) << 16);
  ul_17[24]  =  f_488;
  l_489  =  l_344 >> 16;
  sh_490  =  (short) l_489;
  i_491  =  (int) sh_490;
  f_492  =  __int_as_float(((int) (unsigned short) i_491) << 16);
  ul_17[25]  =  f_492;
  l_493  =  l_344 >> 32;
  sh_494  =  (short) l_493;
  i_495  =  (int) sh_494;
  f_496  =  __int_as_float(((int) (unsigned short) i_495) << 16);
  ul_17[26]  =  f_496;
  l_497  =  l_344 >> 48;
  sh_498  =  (short) l_497;
  i_499  =  (int) sh_498;
  f_500  =  __int_as_float(((int) (unsigned short) i_499) << 16);
  ul_17[27]  =  f_500;
  sh_501  =  (short) l_363;
  i_502  =  (int) sh_501;
  f_503  =  __int_as_float(((int) (unsigned short) i_502) << 16);
  ul_17[28]  =  f_503;
  l_504  =  l_363 >> 16;
  sh_505  =  (short) l_504;
  i_506  =  (int) sh_505;
  f_507  =  __int_as_float(((int) (unsigned short) i_506) << 16);
  ul_17[29]  =  f_507;
  l_508  =  l_363 >> 32;
  sh_509  =  (short) l_508;
  i_510  =  (int) sh_509;
  f_511  =  __int_as_float(((int) (unsigned short) i_510) << 16);
  ul_17[30]  =  f_511;
  l_512  =  l_363 >> 48;
  sh_513  =  (short) l_512;
  i_514  =  (int) sh_513;
  f_515  =  __int_as_float(((int) (unsigned short) i_514) << 16);
  ul_17[31]  =  f_515;
  // BLOCK 9 MERGES [8 10 ]
  i_516  =  0;
  f_517  =  f_398;
  f_518  =  f_402;
  f_519  =  f_406;
  f_520  =  f_410;
  f_521  =  f_413;
  f_522  =  f_417;
  f_523  =  f_421;
  f_524  =  f_425;
  f_525  =  f_428;
  f_526  =  f_432;
  f_527  =  f_436;
  f_528  =  f_440;
  f_529  =  f_443;
  f_530  =  f_447;
  f_531  =  f_451;
  f_532  =  f_455;
  f_533  =  f_458;
  f_534  =  f_462;
  f_535  =  f_466;
  f_536  =  f_470;
  f_537  =  f_473;
  f_538  =  f_477;
  f_539  =  f_481;
  f_540  =  f_485;
  f_541  =  f_488;
  f_542  =  f_492;
  f_543  =  f_496;
  f_544  =  f_500;
  f_545  =  f_503;
  f_546  =  f_507;
  f_547  =  f_511;
  f_548  =  f_515;
  for(;i_516 < 16;)
  {
    // BLOCK 10
    l_549  =  ul_8[i_516];
    l_550  =  ul_8[i_516];
    l_551  =  ul_8[i_516];
    l_552  =  ul_8[i_516];
    f_553  =  adf_15[i_516];
    sh_554  =  (short) l_549;
    i_555  =  (int) sh_554;
    f_556  =  __int_as_float(((int) (unsigned short) i_555) << 16);
    f_557  =  fma(f_556, f_553, f_517);
    ul_17[0]  =  f_557;
    l_558  =  l_550 >> 16;
    sh_559  =  (short) l_558;
    i_560  =  (int) sh_559;
    f_561  =  __int_as_float(((int) (unsigned short) i_560) << 16);
    f_562  =  fma(f_561, f_553, f_518);
    ul_17[1]  =  f_562;
    l_563  =  l_551 >> 32;
    sh_564  =  (short) l_563;
    i_565  =  (int) sh_564;
    f_566  =  __int_as_float(((int) (unsigned short) i_565) << 16);
    f_567  =  fma(f_566, f_553, f_519);
    ul_17[2]  =  f_567;
    l_568  =  l_552 >> 48;
    sh_569  =  (short) l_568;
    i_570  =  (int) sh_569;
    f_571  =  __int_as_float(((int) (unsigned short) i_570) << 16);
    f_572  =  fma(f_571, f_553, f_520);
    ul_17[3]  =  f_572;
    i_573  =  i_516 + 16;
    f_574  =  adf_15[i_573];
    f_575  =  fma(f_556, f_574, f_521);
    ul_17[4]  =  f_575;
    f_576  =  fma(f_561, f_574, f_522);
    ul_17[5]  =  f_576;
    f_577  =  fma(f_566, f_574, f_523);
    ul_17[6]  =  f_577;
    f_578  =  fma(f_571, f_574, f_524);
    ul_17[7]  =  f_578;
    i_579  =  i_516 + 32;
    f_580  =  adf_15[i_579];
    f_581  =  fma(f_556, f_580, f_525);
    ul_17[8]  =  f_581;
    f_582  =  fma(f_561, f_580, f_526);
    ul_17[9]  =  f_582;
    f_583  =  fma(f_566, f_580, f_527);
    ul_17[10]  =  f_583;
    f_584  =  fma(f_571, f_580, f_528);
    ul_17[11]  =  f_584;
    i_585  =  i_516 + 48;
    f_586  =  adf_15[i_585];
    f_587  =  fma(f_556, f_586, f_529);
    ul_17[12]  =  f_587;
    f_588  =  fma(f_561, f_586, f_530);
    ul_17[13]  =  f_588;
    f_589  =  fma(f_566, f_586, f_531);
    ul_17[14]  =  f_589;
    f_590  =  fma(f_571, f_586, f_532);
    ul_17[15]  =  f_590;
    i_591  =  i_516 + 64;
    f_592  =  adf_15[i_591];
    f_593  =  fma(f_556, f_592, f_533);
    ul_17[16]  =  f_593;
    f_594  =  fma(f_561, f_592, f_534);
    ul_17[17]  =  f_594;
    f_595  =  fma(f_566, f_592, f_535);
    ul_17[18]  =  f_595;
    f_596  =  fma(f_571, f_592, f_536);
    ul_17[19]  =  f_596;
    i_597  =  i_516 + 80;
    f_598  =  adf_15[i_597];
    f_599  =  fma(f_556, f_598, f_537);
    ul_17[20]  =  f_599;
    f_600  =  fma(f_561, f_598, f_538);
    ul_17[21]  =  f_600;
    f_601  =  fma(f_566, f_598, f_539);
    ul_17[22]  =  f_601;
    f_602  =  fma(f_571, f_598, f_540);
    ul_17[23]  =  f_602;
    i_603  =  i_516 + 96;
    f_604  =  adf_15[i_603];
    f_605  =  fma(f_556, f_604, f_541);
    ul_17[24]  =  f_605;
    f_606  =  fma(f_561, f_604, f_542);
    ul_17[25]  =  f_606;
    f_607  =  fma(f_566, f_604, f_543);
    ul_17[26]  =  f_607;
    f_608  =  fma(f_571, f_604, f_544);
    ul_17[27]  =  f_608;
    i_609  =  i_516 + 112;
    f_610  =  adf_15[i_609];
    f_611  =  fma(f_556, f_610, f_545);
    ul_17[28]  =  f_611;
    f_612  =  fma(f_561, f_610, f_546);
    ul_17[29]  =  f_612;
    f_613  =  fma(f_566, f_610, f_547);
    ul_17[30]  =  f_613;
    f_614  =  fma(f_571, f_610, f_548);
    ul_17[31]  =  f_614;
    i_615  =  i_516 + 1;
    i_516  =  i_615;
    f_517  =  f_557;
    f_518  =  f_562;
    f_519  =  f_567;
    f_520  =  f_572;
    f_521  =  f_575;
    f_522  =  f_576;
    f_523  =  f_577;
    f_524  =  f_578;
    f_525  =  f_581;
    f_526  =  f_582;
    f_527  =  f_583;
    f_528  =  f_584;
    f_529  =  f_587;
    f_530  =  f_588;
    f_531  =  f_589;
    f_532  =  f_590;
    f_533  =  f_593;
    f_534  =  f_594;
    f_535  =  f_595;
    f_536  =  f_596;
    f_537  =  f_599;
    f_538  =  f_600;
    f_539  =  f_601;
    f_540  =  f_602;
    f_541  =  f_605;
    f_542  =  f_606;
    f_543  =  f_607;
    f_544  =  f_608;
    f_545  =  f_611;
    f_546  =  f_612;
    f_547  =  f_613;
    f_548  =  f_614;
  }  // B9
  // BLOCK 11
  l_616  =  ul_10[0];
  b_617  =  l_616 < l_218;
  if(b_617)
  {
    // BLOCK 12
    b_618  =  l_48 < l_49;
    if(b_618)
    {
      // BLOCK 13
      l_619  =  ul_12[0];
      f_620  =  ul_17[0];
      f_621  =  ul_17[1];
      f_622  =  ul_17[2];
      f_623  =  ul_17[3];
      i_624  =  (int) l_619;
      l_625  =  (long long) i_624;
      l_626  =  l_625 + 2L;
      l_627  =  l_626 << 3;
      ul_628  =  ul_6 + l_627;
      sh_629  =  (f_623 != f_623) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_623) + 0x7FFFU + ((__float_as_uint(f_623) >> 16) & 1U)) >> 16);
      l_630  =  (long long) sh_629;
      l_631  =  l_630 << 48;
      sh_632  =  (f_622 != f_622) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_622) + 0x7FFFU + ((__float_as_uint(f_622) >> 16) & 1U)) >> 16);
      l_633  =  (long long) sh_632;
      l_634  =  l_633 & 65535L;
      l_635  =  l_634 << 32;
      l_636  =  l_631 | l_635;
      sh_637  =  (f_621 != f_621) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_621) + 0x7FFFU + ((__float_as_uint(f_621) >> 16) & 1U)) >> 16);
      l_638  =  (long long) sh_637;
      l_639  =  l_638 & 65535L;
      l_640  =  l_639 << 16;
      l_641  =  l_636 | l_640;
      sh_642  =  (f_620 != f_620) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_620) + 0x7FFFU + ((__float_as_uint(f_620) >> 16) & 1U)) >> 16);
      l_643  =  (long long) sh_642;
      l_644  =  l_643 & 65535L;
      l_645  =  l_641 | l_644;
      *(( long long *) ul_628)  =  l_645;
    }  // B12
    else
    {
      // BLOCK 14
    }  // B12
  }  // B11
  else
  {
    // BLOCK 15
  }  // B11
  // BLOCK 16 MERGES [15 13 14 ]
  l_646  =  ul_10[1];
  b_647  =  l_646 < l_218;
  if(b_647)
  {
    // BLOCK 17
    b_648  =  l_48 < l_49;
    if(b_648)
    {
      // BLOCK 18
      l_649  =  ul_12[1];
      f_650  =  ul_17[4];
      f_651  =  ul_17[5];
      f_652  =  ul_17[6];
      f_653  =  ul_17[7];
      i_654  =  (int) l_649;
      l_655  =  (long long) i_654;
      l_656  =  l_655 + 2L;
      l_657  =  l_656 << 3;
      ul_658  =  ul_6 + l_657;
      sh_659  =  (f_653 != f_653) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_653) + 0x7FFFU + ((__float_as_uint(f_653) >> 16) & 1U)) >> 16);
      l_660  =  (long long) sh_659;
      l_661  =  l_660 << 48;
      sh_662  =  (f_652 != f_652) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_652) + 0x7FFFU + ((__float_as_uint(f_652) >> 16) & 1U)) >> 16);
      l_663  =  (long long) sh_662;
      l_664  =  l_663 & 65535L;
      l_665  =  l_664 << 32;
      l_666  =  l_661 | l_665;
      sh_667  =  (f_651 != f_651) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_651) + 0x7FFFU + ((__float_as_uint(f_651) >> 16) & 1U)) >> 16);
      l_668  =  (long long) sh_667;
      l_669  =  l_668 & 65535L;
      l_670  =  l_669 << 16;
      l_671  =  l_666 | l_670;
      sh_672  =  (f_650 != f_650) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_650) + 0x7FFFU + ((__float_as_uint(f_650) >> 16) & 1U)) >> 16);
      l_673  =  (long long) sh_672;
      l_674  =  l_673 & 65535L;
      l_675  =  l_671 | l_674;
      *(( long long *) ul_658)  =  l_675;
    }  // B17
    else
    {
      // BLOCK 19
    }  // B17
  }  // B16
  else
  {
    // BLOCK 20
  }  // B16
  // BLOCK 21 MERGES [20 18 19 ]
  l_676  =  ul_10[2];
  b_677  =  l_676 < l_218;
  if(b_677)
  {
    // BLOCK 22
    b_678  =  l_48 < l_49;
    if(b_678)
    {
      // BLOCK 23
      l_679  =  ul_12[2];
      f_680  =  ul_17[8];
      f_681  =  ul_17[9];
      f_682  =  ul_17[10];
      f_683  =  ul_17[11];
      i_684  =  (int) l_679;
      l_685  =  (long long) i_684;
      l_686  =  l_685 + 2L;
      l_687  =  l_686 << 3;
      ul_688  =  ul_6 + l_687;
      sh_689  =  (f_683 != f_683) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_683) + 0x7FFFU + ((__float_as_uint(f_683) >> 16) & 1U)) >> 16);
      l_690  =  (long long) sh_689;
      l_691  =  l_690 << 48;
      sh_692  =  (f_682 != f_682) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_682) + 0x7FFFU + ((__float_as_uint(f_682) >> 16) & 1U)) >> 16);
      l_693  =  (long long) sh_692;
      l_694  =  l_693 & 65535L;
      l_695  =  l_694 << 32;
      l_696  =  l_691 | l_695;
      sh_697  =  (f_681 != f_681) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_681) + 0x7FFFU + ((__float_as_uint(f_681) >> 16) & 1U)) >> 16);
      l_698  =  (long long) sh_697;
      l_699  =  l_698 & 65535L;
      l_700  =  l_699 << 16;
      l_701  =  l_696 | l_700;
      sh_702  =  (f_680 != f_680) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_680) + 0x7FFFU + ((__float_as_uint(f_680) >> 16) & 1U)) >> 16);
      l_703  =  (long long) sh_702;
      l_704  =  l_703 & 65535L;
      l_705  =  l_701 | l_704;
      *(( long long *) ul_688)  =  l_705;
    }  // B22
    else
    {
      // BLOCK 24
    }  // B22
  }  // B21
  else
  {
    // BLOCK 25
  }  // B21
  // BLOCK 26 MERGES [25 23 24 ]
  l_706  =  ul_10[3];
  b_707  =  l_706 < l_218;
  if(b_707)
  {
    // BLOCK 27
    b_708  =  l_48 < l_49;
    if(b_708)
    {
      // BLOCK 28
      l_709  =  ul_12[3];
      f_710  =  ul_17[12];
      f_711  =  ul_17[13];
      f_712  =  ul_17[14];
      f_713  =  ul_17[15];
      i_714  =  (int) l_709;
      l_715  =  (long long) i_714;
      l_716  =  l_715 + 2L;
      l_717  =  l_716 << 3;
      ul_718  =  ul_6 + l_717;
      sh_719  =  (f_713 != f_713) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_713) + 0x7FFFU + ((__float_as_uint(f_713) >> 16) & 1U)) >> 16);
      l_720  =  (long long) sh_719;
      l_721  =  l_720 << 48;
      sh_722  =  (f_712 != f_712) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_712) + 0x7FFFU + ((__float_as_uint(f_712) >> 16) & 1U)) >> 16);
      l_723  =  (long long) sh_722;
      l_724  =  l_723 & 65535L;
      l_725  =  l_724 << 32;
      l_726  =  l_721 | l_725;
      sh_727  =  (f_711 != f_711) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_711) + 0x7FFFU + ((__float_as_uint(f_711) >> 16) & 1U)) >> 16);
      l_728  =  (long long) sh_727;
      l_729  =  l_728 & 65535L;
      l_730  =  l_729 << 16;
      l_731  =  l_726 | l_730;
      sh_732  =  (f_710 != f_710) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_710) + 0x7FFFU + ((__float_as_uint(f_710) >> 16) & 1U)) >> 16);
      l_733  =  (long long) sh_732;
      l_734  =  l_733 & 65535L;
      l_735  =  l_731 | l_734;
      *(( long long *) ul_718)  =  l_735;
    }  // B27
    else
    {
      // BLOCK 29
    }  // B27
  }  // B26
  else
  {
    // BLOCK 30
  }  // B26
  // BLOCK 31 MERGES [30 28 29 ]
  l_736  =  ul_10[4];
  b_737  =  l_736 < l_218;
  if(b_737)
  {
    // BLOCK 32
    b_738  =  l_48 < l_49;
    if(b_738)
    {
      // BLOCK 33
      l_739  =  ul_12[4];
      f_740  =  ul_17[16];
      f_741  =  ul_17[17];
      f_742  =  ul_17[18];
      f_743  =  ul_17[19];
      i_744  =  (int) l_739;
      l_745  =  (long long) i_744;
      l_746  =  l_745 + 2L;
      l_747  =  l_746 << 3;
      ul_748  =  ul_6 + l_747;
      sh_749  =  (f_743 != f_743) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_743) + 0x7FFFU + ((__float_as_uint(f_743) >> 16) & 1U)) >> 16);
      l_750  =  (long long) sh_749;
      l_751  =  l_750 << 48;
      sh_752  =  (f_742 != f_742) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_742) + 0x7FFFU + ((__float_as_uint(f_742) >> 16) & 1U)) >> 16);
      l_753  =  (long long) sh_752;
      l_754  =  l_753 & 65535L;
      l_755  =  l_754 << 32;
      l_756  =  l_751 | l_755;
      sh_757  =  (f_741 != f_741) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_741) + 0x7FFFU + ((__float_as_uint(f_741) >> 16) & 1U)) >> 16);
      l_758  =  (long long) sh_757;
      l_759  =  l_758 & 65535L;
      l_760  =  l_759 << 16;
      l_761  =  l_756 | l_760;
      sh_762  =  (f_740 != f_740) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_740) + 0x7FFFU + ((__float_as_uint(f_740) >> 16) & 1U)) >> 16);
      l_763  =  (long long) sh_762;
      l_764  =  l_763 & 65535L;
      l_765  =  l_761 | l_764;
      *(( long long *) ul_748)  =  l_765;
    }  // B32
    else
    {
      // BLOCK 34
    }  // B32
  }  // B31
  else
  {
    // BLOCK 35
  }  // B31
  // BLOCK 36 MERGES [35 33 34 ]
  l_766  =  ul_10[5];
  b_767  =  l_766 < l_218;
  if(b_767)
  {
    // BLOCK 37
    b_768  =  l_48 < l_49;
    if(b_768)
    {
      // BLOCK 38
      l_769  =  ul_12[5];
      f_770  =  ul_17[20];
      f_771  =  ul_17[21];
      f_772  =  ul_17[22];
      f_773  =  ul_17[23];
      i_774  =  (int) l_769;
      l_775  =  (long long) i_774;
      l_776  =  l_775 + 2L;
      l_777  =  l_776 << 3;
      ul_778  =  ul_6 + l_777;
      sh_779  =  (f_773 != f_773) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_773) + 0x7FFFU + ((__float_as_uint(f_773) >> 16) & 1U)) >> 16);
      l_780  =  (long long) sh_779;
      l_781  =  l_780 << 48;
      sh_782  =  (f_772 != f_772) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_772) + 0x7FFFU + ((__float_as_uint(f_772) >> 16) & 1U)) >> 16);
      l_783  =  (long long) sh_782;
      l_784  =  l_783 & 65535L;
      l_785  =  l_784 << 32;
      l_786  =  l_781 | l_785;
      sh_787  =  (f_771 != f_771) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_771) + 0x7FFFU + ((__float_as_uint(f_771) >> 16) & 1U)) >> 16);
      l_788  =  (long long) sh_787;
      l_789  =  l_788 & 65535L;
      l_790  =  l_789 << 16;
      l_791  =  l_786 | l_790;
      sh_792  =  (f_770 != f_770) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_770) + 0x7FFFU + ((__float_as_uint(f_770) >> 16) & 1U)) >> 16);
      l_793  =  (long long) sh_792;
      l_794  =  l_793 & 65535L;
      l_795  =  l_791 | l_794;
      *(( long long *) ul_778)  =  l_795;
    }  // B37
    else
    {
      // BLOCK 39
    }  // B37
  }  // B36
  else
  {
    // BLOCK 40
  }  // B36
  // BLOCK 41 MERGES [40 38 39 ]
  l_796  =  ul_10[6];
  b_797  =  l_796 < l_218;
  if(b_797)
  {
    // BLOCK 42
    b_798  =  l_48 < l_49;
    if(b_798)
    {
      // BLOCK 43
      l_799  =  ul_12[6];
      f_800  =  ul_17[24];
      f_801  =  ul_17[25];
      f_802  =  ul_17[26];
      f_803  =  ul_17[27];
      i_804  =  (int) l_799;
      l_805  =  (long long) i_804;
      l_806  =  l_805 + 2L;
      l_807  =  l_806 << 3;
      ul_808  =  ul_6 + l_807;
      sh_809  =  (f_803 != f_803) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_803) + 0x7FFFU + ((__float_as_uint(f_803) >> 16) & 1U)) >> 16);
      l_810  =  (long long) sh_809;
      l_811  =  l_810 << 48;
      sh_812  =  (f_802 != f_802) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_802) + 0x7FFFU + ((__float_as_uint(f_802) >> 16) & 1U)) >> 16);
      l_813  =  (long long) sh_812;
      l_814  =  l_813 & 65535L;
      l_815  =  l_814 << 32;
      l_816  =  l_811 | l_815;
      sh_817  =  (f_801 != f_801) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_801) + 0x7FFFU + ((__float_as_uint(f_801) >> 16) & 1U)) >> 16);
      l_818  =  (long long) sh_817;
      l_819  =  l_818 & 65535L;
      l_820  =  l_819 << 16;
      l_821  =  l_816 | l_820;
      sh_822  =  (f_800 != f_800) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_800) + 0x7FFFU + ((__float_as_uint(f_800) >> 16) & 1U)) >> 16);
      l_823  =  (long long) sh_822;
      l_824  =  l_823 & 65535L;
      l_825  =  l_821 | l_824;
      *(( long long *) ul_808)  =  l_825;
    }  // B42
    else
    {
      // BLOCK 44
    }  // B42
  }  // B41
  else
  {
    // BLOCK 45
  }  // B41
  // BLOCK 46 MERGES [45 43 44 ]
  l_826  =  ul_10[7];
  b_827  =  l_826 < l_218;
  if(b_827)
  {
    // BLOCK 47
    b_828  =  l_48 < l_49;
    if(b_828)
    {
      // BLOCK 48
      l_829  =  ul_12[7];
      f_830  =  ul_17[28];
      f_831  =  ul_17[29];
      f_832  =  ul_17[30];
      f_833  =  ul_17[31];
      i_834  =  (int) l_829;
      l_835  =  (long long) i_834;
      l_836  =  l_835 + 2L;
      l_837  =  l_836 << 3;
      ul_838  =  ul_6 + l_837;
      sh_839  =  (f_833 != f_833) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_833) + 0x7FFFU + ((__float_as_uint(f_833) >> 16) & 1U)) >> 16);
      l_840  =  (long long) sh_839;
      l_841  =  l_840 << 48;
      sh_842  =  (f_832 != f_832) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_832) + 0x7FFFU + ((__float_as_uint(f_832) >> 16) & 1U)) >> 16);
      l_843  =  (long long) sh_842;
      l_844  =  l_843 & 65535L;
      l_845  =  l_844 << 32;
      l_846  =  l_841 | l_845;
      sh_847  =  (f_831 != f_831) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_831) + 0x7FFFU + ((__float_as_uint(f_831) >> 16) & 1U)) >> 16);
      l_848  =  (long long) sh_847;
      l_849  =  l_848 & 65535L;
      l_850  =  l_849 << 16;
      l_851  =  l_846 | l_850;
      sh_852  =  (f_830 != f_830) ? (short) 0x7FC0 : (short) ((__float_as_uint(f_830) + 0x7FFFU + ((__float_as_uint(f_830) >> 16) & 1U)) >> 16);
      l_853  =  (long long) sh_852;
      l_854  =  l_853 & 65535L;
      l_855  =  l_851 | l_854;
      *(( long long *) ul_838)  =  l_855;
      return;
    }  // B47
    else
    {
      // BLOCK 49
      return;
    }  // B47
  }  // B46
  else
  {
    // BLOCK 50
  }  // B46
  // BLOCK 51 MERGES [50 48 49 ]
  return;
}  //  kernel
